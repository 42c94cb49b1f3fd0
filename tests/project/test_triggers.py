"""triggers.yaml is read in Mage's schema and ours; each fault is told with its line, and hides no other trigger."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.domain.backfills import Reprocess
from headrace.domain.triggers import AfterRun, ApiCall, AtLimit, BackfillWindow, Batch, Trigger, TriggerKind, Webhook
from headrace.project.faults import Severity
from headrace.project.triggers import TriggerReading, read_triggers, triggers_in


def read(root: Path, text: str) -> TriggerReading:
    folder = root / "pipelines" / "p"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "triggers.yaml").write_text(text)
    return read_triggers(root, "p", {})


def one(root: Path, text: str) -> Trigger:
    reading = read(root, text)
    assert not reading.faults, reading.faults
    (trigger,) = reading.triggers
    return trigger


MAGES = """
triggers:
- description: null
  envs: []
  last_enabled_at: 2024-01-02 03:04:05
  name: nightly
  pipeline_uuid: p
  schedule_interval: '@daily'
  schedule_type: time
  settings:
    skip_if_previous_running: true
    allow_blocks_to_fail: true
    timeout: 600
  sla: null
  start_time: 2024-01-01 00:00:00
  status: active
  token: null
  variables:
    taxi: green
- name: called
  schedule_type: api
  status: inactive
  token: 0123456789abcdef
"""


def test_mages_schema_is_read(tmp_path: Path) -> None:
    reading = read(tmp_path, MAGES)
    assert not reading.faults
    nightly, called = reading.triggers
    assert nightly.kind is TriggerKind.SCHEDULE
    assert nightly.active
    assert (nightly.max_active_runs, nightly.at_limit) == (1, AtLimit.SKIP)
    assert nightly.allow_blocks_to_fail is True
    assert nightly.timeout == 600.0
    assert nightly.variables == {"taxi": "green"}
    assert (called.when, called.active) == (ApiCall("0123456789abcdef"), False)


def test_our_own_keys_are_read(tmp_path: Path) -> None:
    trigger = one(
        tmp_path,
        """
triggers:
- name: push
  schedule_type: webhook
  status: active
  webhook: {path: /github/push/, preset: bearer, secret: s}
  filter: event.ref == 'main'
  dedup_key: '{{ event.id }}'
  variables: {sha: '{{ event.sha }}'}
  max_active_runs: 3
  at_limit: cancel_oldest
  batch: {delay: 2, max_wait: 10, max_count: 50}
  priority: -5
""",
    )
    assert trigger.when == Webhook("github/push", {"preset": "bearer", "secrets": ["s"]})
    assert trigger.source == "webhook:github/push"
    assert (trigger.max_active_runs, trigger.at_limit, trigger.priority) == (3, AtLimit.CANCEL_OLDEST, -5)
    assert trigger.batch == Batch(2.0, 10.0, 50)
    assert one(tmp_path, "- {name: a, type: webhook, webhook: x, debounce: 1.5}").batch == Batch(1.5)


def test_a_backfill_instead_of_a_run_is_read(tmp_path: Path) -> None:
    text = "- {name: a, schedule_interval: '@daily', backfill: {last: 7, interval: day, reprocess: missing}}"
    assert one(tmp_path, text).backfill == BackfillWindow(7, "day", Reprocess.MISSING)


def test_a_trigger_after_another_pipelines_runs_is_read(tmp_path: Path) -> None:
    missing = read(tmp_path, "- {name: a, type: run, run: q}")
    assert [trigger.when for trigger in missing.triggers] == [AfterRun("q")]
    assert [fault.message for fault in missing.faults] == [
        "Trigger a: there is no pipelines/q/metadata.yaml: it makes no run until there is."
    ]
    (tmp_path / "pipelines" / "q").mkdir()
    (tmp_path / "pipelines" / "q" / "metadata.yaml").touch()
    assert one(tmp_path, "- {name: a, type: run, run: q}").when == AfterRun("q")
    given = one(tmp_path, "- {name: a, type: run, run: {pipeline: q, status: [failed, cancelled]}}")
    assert given.when == AfterRun("q", ("failed", "cancelled"))


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("triggers:\n- name: a\n  schedule_type: sometimes\n", 3, "schedule_type cannot be 'sometimes'"),
        ("triggers:\n- schedule_type: api\n", 2, "has no name"),
        ("triggers:\n- name: a\n  schedule_type: time\n", 2, "schedule_interval"),
        ("triggers:\n- name: a\n  schedule_type: webhook\n", 2, "no path"),
        ("triggers:\n- name: a\n  schedule_type: run\n  run: {pipeline: q, status: won}\n", 4, "no run ends as 'won'"),
        ("triggers:\n- name: a\n  schedule_type: api\n  filter: event.(\n", 4, "filter"),
        ("triggers:\n- name: a\n  schedule_type: api\n  max_active_runs: none\n", 4, "max_active_runs"),
        ("triggers:\n- name: a\n  schedule_type: api\n  at_limit: explode\n", 4, "at_limit"),
        ("triggers:\n- name: a\n  schedule_type: api\n  status: on\n", 4, "status"),
        ("triggers:\n- name: a\n  schedule_type: api\n  batch: {delay: soon}\n", 4, "batch"),
        ("triggers:\n- name: a\n  schedule_type: api\n  variables: [1]\n", 4, "variables"),
        ("triggers:\n- name: a\n  schedule_type: api\n  variables: {x: '{{ 1 + }}'}\n", 4, "variables"),
        ("triggers:\n- name: a\n  schedule_type: api\n  priority: high\n", 4, "priority"),
        ("triggers:\n- name: a\n  schedule_type: api\n  backfill: {last: none}\n", 4, "backfill"),
        ("triggers:\n- name: a\n  schedule_type: api\n  backfill: {last: 2, interval: ages}\n", 4, "ages"),
        ("triggers:\n- name: a\n  schedule_type: api\n  backfill: {last: 2, reprocess: some}\n", 4, "some"),
        ("triggers: 5\n", 1, "not a list"),
        ("triggers:\n- 5\n", 2, "not a trigger"),
    ],
)
def test_a_fault_is_told_by_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    reading = read(tmp_path, text)
    assert not reading.triggers
    fault = reading.faults[0]
    assert told in fault.message
    assert fault.line == line
    assert fault.file == "pipelines/p/triggers.yaml"


def test_one_bad_trigger_hides_no_other_and_is_listed_with_its_reason(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        "triggers:\n- {name: good, schedule_type: api}\n- {name: bad, schedule_type: x}\n- {name: good, schedule_type: api}\n",
    )
    assert [trigger.name for trigger in reading.triggers] == ["good"]
    assert [broken.name for broken in reading.broken] == ["bad", "good"]
    assert "schedule_type" in reading.broken[0].reason
    assert "another trigger" in reading.broken[1].reason


@pytest.mark.parametrize("text", ["triggers: [", "\0", "a: &a [*a]", "- " * 100])
def test_a_file_that_is_no_yaml_of_ours_is_one_broken_trigger(tmp_path: Path, text: str) -> None:
    reading = read(tmp_path, text)
    assert not reading.triggers
    assert [broken.name for broken in reading.broken] == ["triggers.yaml"]


def test_no_file_and_an_empty_file_are_no_triggers(tmp_path: Path) -> None:
    assert read_triggers(tmp_path, "p", {}).triggers == ()
    assert read(tmp_path, "").faults == ()
    assert read(tmp_path, "triggers: null\n").faults == ()


def test_keys_without_effect_are_warned_of_with_their_line_and_keep_nothing_from_working(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        "triggers:\n"
        "- name: hourly\n"
        "  schedule_type: time\n"
        "  schedule_interval: '@hourly'\n"
        "  timezon: Europe/Berlin\n"
        "  repo_path: /home/src/shop\n"
        "  settings:\n"
        "    skip_if_previous_runing: true\n"
        "  batch: {delay: 5, maximum: 3}\n",
    )
    assert len(reading.triggers) == 1
    assert [(fault.line, fault.key, fault.severity) for fault in reading.faults] == [
        (5, "timezon", Severity.WARNING),
        (8, "skip_if_previous_runing", Severity.WARNING),
        (9, "maximum", Severity.WARNING),
    ]
    assert reading.faults[0].message == "Trigger hourly: there is no key timezon: it has no effect."
    assert "timezone?" in reading.faults[0].remedy
    assert "under settings" in reading.faults[1].message


@pytest.mark.parametrize(
    ("envs", "environ", "active"),
    [
        ("[]", {}, True),
        ("[dev, test]", {}, True),
        ("[prod]", {}, False),
        ("[staging, prod]", {"ENV": "prod"}, True),
        ("[staging]", {"ENV": "prod"}, False),
    ],
)
def test_a_trigger_is_active_in_its_environments_alone(
    tmp_path: Path, envs: str, environ: dict[str, str], active: bool
) -> None:
    text = f"triggers:\n- {{name: a, schedule_type: api, status: active, envs: {envs}}}\n"
    reading = triggers_in(text, "p", "triggers.yaml", environ)
    assert not reading.faults
    assert [trigger.active for trigger in reading.triggers] == [active]


def test_environments_are_a_list_of_names(tmp_path: Path) -> None:
    reading = read(tmp_path, "triggers:\n- {name: a, schedule_type: api, status: active, envs: prod}\n")
    assert [fault.line for fault in reading.faults] == [2]
    assert "envs cannot be 'prod'" in reading.broken[0].reason
