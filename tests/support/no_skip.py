"""Turns skips into failures where HEADRACE_TEST_NO_SKIP=1 says that this machine must have everything."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

SETTING = "HEADRACE_TEST_NO_SKIP"
MAY_SKIP = "may_skip"
"""The mark of tests that may be skipped all the same: what they need is no part of the repository."""


def _strict() -> bool:
    return os.environ.get(SETTING, "") not in ("", "0")


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{SETTING} allows no skip here, and this was one: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test is a failed one, unless it is marked `may_skip` or expected to fail."""
    report = yield
    if _strict() and report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker(MAY_SKIP):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: Any) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that is skipped as a whole is a failed one."""
    report = yield
    if _strict() and report.skipped:
        _refuse(report)
    return report
