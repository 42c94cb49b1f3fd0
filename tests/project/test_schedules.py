"""The keys of a trigger that say when it is due, and the line of each that says nothing of use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace.domain.schedules import CatchUp, Fold, Gap, Schedule
from headrace.domain.triggers import Trigger, trigger_from_json, trigger_to_json
from headrace.project.triggers import TriggerReading, read_triggers

from tests.support.projects import write_pipeline, write_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "shop")
    write_pipeline(root, "p", {"a": ()})
    return root


def read(root: Path, text: str) -> TriggerReading:
    (root / "pipelines" / "p" / "triggers.yaml").write_text(text)
    return read_triggers(root, "p", {})


def trigger(root: Path, **keys: Any) -> Trigger:
    entry = {"name": "t", "schedule_type": "time", "schedule_interval": "@daily", **keys}
    reading = read(root, yaml.safe_dump({"triggers": [entry]}))
    assert reading.faults == ()
    return reading.triggers[0]


def schedule(root: Path, **keys: Any) -> Schedule:
    when = trigger(root, **keys).when
    assert isinstance(when, Schedule)
    return when


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_trigger_as_mage_writes_it_is_read(root):
    reading = read(
        root,
        """
triggers:
- description: null
  envs: []
  last_enabled_at: 2024-01-27 10:05:05.126385+00:00
  name: nightly
  pipeline_uuid: p
  schedule_interval: '@hourly'
  schedule_type: time
  settings:
    create_initial_pipeline_run: true
    landing_time_enabled: true
    skip_if_previous_running: true
  sla: null
  start_time: 2024-01-26 05:15:00
  status: active
  token: abc
  variables: {}
""",
    )
    assert reading.faults == ()
    assert reading.triggers[0].when == Schedule(
        ("@hourly",),
        start=utc("2024-01-26T05:15"),
        landing_time=True,
        create_initial_run=True,
        enabled_at=utc("2024-01-27T10:05:05.126385"),
    )


def test_our_own_keys_are_read(root):
    assert schedule(
        root,
        schedule_interval=["30 2 * * *", "every 90 minutes", "@weekly"],
        timezone="America/New_York",
        dst_gap="skip",
        dst_fold="both",
        jitter=30,
        start_time="2026-01-01 06:00:00",
        end_time="2026-12-31T00:00:00Z",
        exclude=["2026-12-25", "12-24/01-02", "* 0-6 * * *"],
        catch_up={"policy": "all", "most": 500, "pace": 2.5},
    ) == Schedule(
        ("30 2 * * *", "every 90 minutes", "@weekly"),
        timezone="America/New_York",
        gap=Gap.SKIP,
        fold=Fold.BOTH,
        jitter=30.0,
        start=utc("2026-01-01T11:00"),
        end=utc("2026-12-31T00:00"),
        exclusions=("2026-12-25", "12-24/01-02", "* 0-6 * * *"),
        catch_up=CatchUp.ALL,
        most_caught_up=500,
        catch_up_pace=2.5,
    )


def test_unquoted_dates_are_days(root):
    text = "triggers:\n- {name: t, schedule_interval: '@daily', exclude: 2026-12-25, start_time: 2026-01-01}\n"
    when = read(root, text).triggers[0].when
    assert when == Schedule(("@daily",), start=utc("2026-01-01"), exclusions=("2026-12-25",))


@pytest.mark.parametrize("policy", list(CatchUp))
def test_catch_up_may_be_a_bare_word(root, policy):
    assert schedule(root, catch_up=str(policy)).catch_up is policy


def test_landing_time_is_for_mages_periods_alone(root):
    assert not schedule(root, schedule_interval="5 * * * *", settings={"landing_time_enabled": True}).landing_time


def test_a_schedule_comes_through_json_as_it_was(root):
    made = trigger(
        root,
        schedule_interval=["@daily", "every 2h"],
        timezone="Asia/Kathmandu",
        dst_gap="skip",
        dst_fold="second",
        jitter=5,
        start_time="2026-01-01",
        end_time="2027-01-01",
        last_enabled_at="2026-01-05",
        exclude=["12-25"],
        catch_up="none",
    )
    assert trigger_from_json(trigger_to_json(made)) == made


HEAD = "triggers:\n- name: t\n  schedule_interval: '@daily'\n"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("triggers:\n- name: t\n  schedule_interval: 61 * * * *\n", 3, "bad minute"),
        ("triggers:\n- name: t\n  schedule_interval: '* * *'\n", 3, "minute, hour, day, month and weekday"),
        ("triggers:\n- name: t\n  schedule_interval: '@fortnightly'\n", 3, "'@fortnightly'"),
        ("triggers:\n- name: t\n  schedule_interval: every 0 minutes\n", 3, "every 0 minutes"),
        ("triggers:\n- name: t\n  schedule_interval: [5, '@daily']\n", 3, "schedule_interval cannot be"),
        ("triggers:\n- name: t\n  schedule_interval: ['@daily', 'x y z a b']\n", 3, "bad"),
        (HEAD + "  timezone: Mars/Olympus\n", 4, "Europe/Berlin"),
        (HEAD + "  timezone: Europe\n", 4, "not known"),
        (HEAD + "  timezone: ../../etc/passwd\n", 4, "not known"),
        (HEAD + "  timezone: [UTC]\n", 4, "not known"),
        (HEAD + "  timezone: 5\n", 4, "not known"),
        (HEAD + "  dst_gap: jump\n", 4, "skip, shift"),
        (HEAD + "  dst_fold: [first]\n", 4, "first, second, both"),
        (HEAD + "  jitter: -1\n", 4, "jitter cannot be -1"),
        (HEAD + "  jitter: 5 minutes\n", 4, "seconds"),
        (HEAD + "  start_time: soon\n", 4, "start_time cannot be 'soon'"),
        (HEAD + "  start_time: 2026-05-06\n  end_time: 2026-05-05\n", 5, "before start_time"),
        (HEAD + "  start_time: 0001-01-01\n  timezone: Asia/Tokyo\n", 4, "start_time cannot be"),
        (HEAD + "  exclude: [12-32]\n", 4, "exclude cannot be '12-32'"),
        (HEAD + "  exclude: 61 * * * *\n", 4, "bad minute"),
        (HEAD + "  exclude: {day: 1}\n", 4, "exclude cannot be"),
        (HEAD + "  catch_up: some\n", 4, "none, latest, all"),
        (HEAD + "  catch_up: {policy: all, most: 0}\n", 4, "most cannot be 0"),
        (HEAD + "  catch_up: {policy: all, pace: x}\n", 4, "pace cannot be 'x'"),
        (HEAD + "  settings:\n    landing_time_enabled: maybe\n", 5, "true or false"),
        (HEAD + "  settings: {landing_time_enabled: true}\n  jitter: 5\n", 5, "jitter cannot be together"),
        (HEAD + "  last_enabled_at: never\n", 4, "last_enabled_at cannot be"),
    ],
)
def test_a_fault_is_told_by_line(root, text, line, told):
    reading = read(root, text)
    assert [fault.line for fault in reading.faults] == [line]
    assert told in str(reading.faults[0])
    assert [broken.name for broken in reading.broken] == ["t"]


def test_every_policy_has_a_form_that_its_key_takes(root):
    plain = schedule(root)
    for gap in Gap:
        assert schedule(root, dst_gap=str(gap)) == replace(plain, gap=gap)
    for fold in Fold:
        assert schedule(root, dst_fold=str(fold)) == replace(plain, fold=fold)
