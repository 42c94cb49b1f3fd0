"""The triggers on the page about schedules are read, and what it says of them is so."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
from headrace.domain.expressions import Word, days_off_of, interval_of
from headrace.domain.schedules import CatchUp, Fold, Gap, Schedule
from headrace.project.cron import read_cron
from headrace.project.triggers import TriggerReading, read_triggers
from headrace.triggers.slots import Slots

from tests.support.checkout import ROOT
from tests.support.documents import code_in
from tests.support.projects import write_pipeline, write_project
from tests.support.schedules import utc

PAGE = ROOT / "docs" / "schedules.md"


@pytest.fixture
def reading(tmp_path: Path) -> TriggerReading:
    root = write_project(tmp_path)
    write_pipeline(root, "orders", {"a": ()})
    (example,) = [code for code in code_in(PAGE) if code.language == "yaml"]
    (root / "pipelines" / "orders" / "triggers.yaml").write_text(example.text)
    return read_triggers(root, "orders", {})


def test_the_example_has_no_fault_and_says_what_it_seems_to(reading: TriggerReading):
    assert reading.faults == ()
    nightly, shop_hours = (trigger.when for trigger in reading.triggers)
    assert nightly == Schedule(("30 2 * * *",), timezone="Europe/Berlin")
    assert isinstance(shop_hours, Schedule)
    assert (shop_hours.catch_up, shop_hours.most_caught_up, shop_hours.catch_up_pace) == (CatchUp.ALL, 48, 5.0)
    days = {slot.wall.date().isoformat() for slot in islice(Slots(shop_hours).after(utc("2026-11-25T00:00")), 200)}
    assert {"2026-11-25", "2026-11-28", "2026-11-30"} < days
    assert not {"2026-11-26", "2026-11-27", "2026-11-29"} & days


def test_each_word_and_value_on_the_page_is_one_that_is_known():
    page = PAGE.read_text()
    assert set(re.findall(r"@\w+", page)) == set(Word)
    policies = {str(member) for kind in (Gap, Fold, CatchUp) for member in kind}
    assert policies <= set(re.findall(r"`(\w+)`", page))
    assert interval_of("every 90 seconds") == timedelta(seconds=90)
    assert interval_of("every 2h") == timedelta(hours=2)
    for text in ("2026-12-25", "2026-11-26/2026-11-27", "12-25", "12-24/01-02"):
        assert f"`{text}`" in page
        assert days_off_of(text) is not None
    for field in ("5L", "MON#2"):
        assert f"`{field}`" in page
        read_cron(f"0 0 * * {field}")


def test_a_skipped_half_past_two_becomes_half_past_three(reading: TriggerReading):
    nightly = reading.triggers[0].when
    assert isinstance(nightly, Schedule)
    slot = next(Slots(nightly).after(utc("2026-03-28T12:00")))
    assert f"{slot.wall:%H:%M} becomes {Slots(nightly).clock.wall(slot.at):%H:%M}" in PAGE.read_text()
