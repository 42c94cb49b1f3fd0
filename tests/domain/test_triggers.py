"""Triggers and schedules survive JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from headrace.domain.schedules import CatchUp, Fold, Gap, Schedule
from headrace.domain.triggers import (
    AfterRun,
    ApiCall,
    AtLimit,
    BackfillWindow,
    Batch,
    SensorWatch,
    Trigger,
    TriggerKind,
    Webhook,
    trigger_from_json,
    trigger_to_json,
)

SCHEDULE = Schedule(
    ("@daily", "0 5 * * *"),
    timezone="Europe/Berlin",
    gap=Gap.SKIP,
    fold=Fold.BOTH,
    start=datetime(2026, 1, 1, tzinfo=UTC),
    exclusions=("2026-12-25",),
    catch_up=CatchUp.ALL,
)


@pytest.mark.parametrize(
    ("trigger", "source"),
    [
        (Trigger("p", "t", TriggerKind.SCHEDULE, SCHEDULE, active=True), "schedule:p/t"),
        (
            Trigger("p", "t", TriggerKind.WEBHOOK, Webhook("a/b", {"secret": "x"}), batch=Batch(1.0, 5.0, 9)),
            "webhook:a/b",
        ),
        (Trigger("p", "t", TriggerKind.SENSOR, SensorWatch("files"), at_limit=AtLimit.SKIP), "sensor:files"),
        (Trigger("p", "t", TriggerKind.RUN, AfterRun("q", ("failed", "completed")), priority=3), "run:q"),
        (Trigger("p", "t", TriggerKind.SCHEDULE, SCHEDULE, backfill=BackfillWindow(7, "hour")), "schedule:p/t"),
        (Trigger("p", "t", TriggerKind.API, ApiCall("token"), variables={"a": ["{{ event }}"]}), "api:p/t"),
    ],
)
def test_a_trigger_survives_json_and_tells_its_source(trigger: Trigger, source: str) -> None:
    assert trigger_from_json(json.loads(json.dumps(trigger_to_json(trigger)))) == trigger
    assert trigger.source == source


def test_what_is_as_by_default_is_left_out() -> None:
    assert trigger_to_json(Trigger("p", "t", TriggerKind.API, ApiCall())) == {
        "pipeline": "p", "name": "t", "kind": "api", "when": {},
    }  # fmt: skip
