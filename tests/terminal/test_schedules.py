"""`headrace schedule preview`: the next slots as people and programs are shown them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import write_pipeline, write_project
from tests.support.triggers import webhook, write_triggers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "shop")
    for pipeline in ("orders", "stock"):
        write_pipeline(root, pipeline, {"a": ()})
    return root


def preview(root: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace", "schedule", "preview", *words, "-p", str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    return ended


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


NIGHTLY = {"name": "nightly", "schedule_type": "time", "schedule_interval": "30 2 * * *", "timezone": "Europe/Berlin"}


def test_slots_are_told_in_local_time_and_in_utc_with_gaps_and_folds(root):
    write_triggers(root, "orders", [{**NIGHTLY, "dst_fold": "both"}])
    ended = preview(root, "orders/nightly", "-n", "3", "--after", "2026-03-28")
    assert lines(ended.stdout) == [
        "local UTC",
        "Sat 2026-03-28 02:30:00 +01:00 2026-03-28 01:30:00",
        "Sun 2026-03-29 03:30:00 +02:00 2026-03-29 01:30:00 gap: 02:30:00 is skipped; moved to 03:30:00",
        "Mon 2026-03-30 02:30:00 +02:00 2026-03-30 00:30:00",
    ]
    assert ended.stderr == ""
    folded = lines(preview(root, "nightly", "-n", "3", "--after", "2026-10-24").stdout)
    assert folded[2:] == [
        "Sun 2026-10-25 02:30:00 +02:00 2026-10-25 00:30:00 fold: 02:30:00 for the first time",
        "Sun 2026-10-25 02:30:00 +01:00 2026-10-25 01:30:00 fold: 02:30:00 for the second time",
    ]


def test_what_a_policy_leaves_out_is_told_too(root):
    write_triggers(root, "orders", [{**NIGHTLY, "dst_gap": "skip"}])
    gap = lines(preview(root, "nightly", "-n", "2", "--after", "2026-03-28T12:00:00").stdout)
    assert "gap: 02:30:00 is skipped; left out" in gap[1]
    fold = lines(preview(root, "nightly", "-n", "2", "--after", "2026-10-24T12:00:00").stdout)
    assert fold[1].endswith("fold: 02:30:00 for the first time")
    assert fold[2].endswith("fold: 02:30:00 for the second time; left out")


def test_programs_get_json(root):
    write_triggers(root, "orders", [{**NIGHTLY, "jitter": 60}])
    found = json.loads(preview(root, "nightly", "-n", "50", "--after", "2026-05-06", "--json").stdout)
    assert len(found) == 50
    assert found[0]["key"] == "2026-05-06T02:30:00[Europe/Berlin]"
    assert (found[0]["at"], found[0]["local"]) == ("2026-05-06T00:30:00+00:00", "2026-05-06T02:30:00+02:00")
    assert found[0]["starts_at"].startswith("2026-05-06T00:30:")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"schedule_interval": "@always_on"}, "always on"),
        ({"schedule_interval": "@once"}, "the moment at which it is enabled"),
        ({"end_time": "2020-01-01"}, "No slot is to come."),
        ({"end_time": "2026-05-07 12:00"}, "2 slots, then no more."),
        ({"status": "inactive"}, "It is inactive"),
        (
            {
                "schedule_interval": "@daily",
                "settings": {"landing_time_enabled": True},
                "start_time": "2026-01-01 08:00",
            },
            "done by these times",
        ),
    ],
)
def test_what_slots_do_not_tell_is_said(root, keys, told):
    write_triggers(root, "orders", [{**NIGHTLY, **keys}])
    assert told in preview(root, "nightly", "--after", "2026-05-06").stderr


def test_what_is_no_schedule_of_the_project_is_refused_with_what_there_is(root):
    write_triggers(root, "orders", [NIGHTLY, webhook("hook"), {**NIGHTLY, "name": "bad", "timezone": "Mars"}])
    write_triggers(root, "stock", [NIGHTLY])
    assert "orders/nightly, stock/nightly" in preview(root, "nightly", code=2).stderr
    assert "Did you mean nightly" in preview(root, "nigtly", code=2).stderr
    assert "webhook:hook" in preview(root, "hook", code=2).stderr
    assert "'Mars' is not known" in preview(root, "orders/bad", code=2).stderr
