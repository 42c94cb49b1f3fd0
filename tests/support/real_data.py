"""Published data that tests use where it lies beside the checkout; it is no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

SETTING = "HEADRACE_REAL_DATA"
"""Names the folder of published files. Where it is set, a missing file is a failure; else `../shared/data` is tried."""


def real_file(name: str) -> Path:
    """The path of a published file; skips the test where there is none."""
    named = os.environ.get(SETTING)
    path = Path(named or ROOT.parent / "shared" / "data") / name
    if path.is_file():
        return path
    if named:
        pytest.fail(f"{SETTING} is set, and there is no {path}")
    pytest.skip(f"the published file {name} is not here: name its folder in {SETTING}")
