"""The figures for Prometheus: fed by every source of events, told for each sensor and schedule, and all documented."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

import pytest
from headrace.api.figures import Figures
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api import Api
from tests.support.checkout import ROOT
from tests.support.projects import write_pipeline
from tests.support.sensors import sensor, sensor_service, write_sensor
from tests.support.triggers import webhook, write_triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

GIVING = """
from datetime import UTC, datetime
from headrace import Event, sensor

@sensor(interval=0.05)
def giving(cursor, **kwargs):
    n = (cursor or 0) + 1
    return [Event({"n": m}, cursor=n, occurred_at=datetime.now(UTC)) for m in (n, -n)]
"""
BROKEN = "@sensor(interval=0.05)\ndef broken(**kwargs):\n    raise ValueError('no')\n"
TICKING = {"name": "ticking", "schedule_type": "time", "schedule_interval": "every 1 seconds"}
AFTER = {"name": "after", "schedule_type": "run", "run": {"pipeline": "orders"}}
CALLED = {"name": "called", "schedule_type": "api", "sla": 3600}
RANGE = {"pipeline": "orders", "start": "2026-01-01", "end": "2026-01-02"}

Samples = Mapping[str, float]
"""Name with labels, as it is written, to value."""


async def samples(api: Api) -> Samples:
    async with api.client.get(f"{api.url}/metrics") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


async def until(api: Api, holds: Callable[[Samples], bool]) -> Samples:
    """The figures, once something holds of them."""
    async with asyncio.timeout(60):
        while not holds(found := await samples(api)):
            await asyncio.sleep(0.05)
    return found


def accepted(kind: str) -> str:
    return f'headrace_event_accept_seconds_count{{kind="{kind}"}}'


@pytest.fixture
def triggers(driven: Api) -> None:
    root = driven.headrace.project.root
    write_sensor(root, "giving", GIVING)
    write_sensor(root, "broken", BROKEN)
    hook = {**webhook("paid"), "webhook": {"path": "paid", "preset": "none"}}
    write_triggers(root, "orders", [hook, TICKING, CALLED, sensor("giving"), sensor("broken")])
    (root / "pipelines" / "later").mkdir(exist_ok=True)
    (root / "pipelines" / "later" / "metadata.yaml").write_text("uuid: later\nname: later\nblocks: []\n")
    write_triggers(root, "later", [AFTER])


async def test_every_source_of_events_is_timed(driven: Api, triggers: None):
    await driven.served.intake.book.look()
    ids = {item["name"]: item["id"] for item in (await driven.get("/api/v1/triggers"))["items"]}
    await driven.post("/api/v1/runs", {"pipeline": "orders"})
    await driven.post("/hooks/paid", {"n": 1}, status=202)
    await driven.post(f"/api/v1/triggers/{ids['called']}/call", {}, status=202)
    await driven.post("/api/v1/backfills", {**RANGE, "concurrency": 2})
    kinds = ("manual", "webhook", "api", "backfill", "schedule", "run")
    found = await until(driven, lambda told: all(told.get(accepted(kind), 0) >= 1 for kind in kinds))
    assert found[accepted("manual")] == 1
    assert found[accepted("backfill")] == 2
    async with sensor_service(driven.headrace.database, driven.headrace.project.root) as service:
        service.stack.acceptor.observer = driven.served.figures
        found = await until(driven, lambda told: told.get(accepted("sensor"), 0) >= 4)
        assert found[accepted("sensor")] % 2 == 0
    slots = found["headrace_slot_late_seconds_count"]
    assert slots >= 1
    events = await driven.headrace.database.fetchval("SELECT count(*) FROM headrace.event WHERE kind = 'slot'")
    assert slots <= events


async def test_each_sensor_and_each_schedule_has_its_own_figures(driven: Api, triggers: None):
    await driven.served.intake.book.look()
    giving = 'project="shop",sensor="giving"'
    broken = 'project="shop",sensor="broken"'
    async with sensor_service(driven.headrace.database, driven.headrace.project.root):
        found = await until(
            driven,
            lambda told: (
                told.get(f"headrace_sensor_failures{{{broken}}}", 0) >= 2
                and told.get(f"headrace_sensor_events_total{{{giving}}}", 0) >= 4
                and f"headrace_sensor_last_look_seconds{{{giving}}}" in told
            ),
        )
    assert found[f'headrace_sensor_state{{{broken},state="failing"}}'] == 1
    assert found[f'headrace_sensor_state{{{giving},state="looking"}}'] == 1
    assert found[f"headrace_sensor_failures{{{giving}}}"] == 0
    for name in ("last_look", "last_event", "lag"):
        assert 0 <= found[f"headrace_sensor_{name}_seconds{{{giving}}}"] < 60
    ticking = 'pipeline="orders",project="shop",trigger="ticking"'
    found = await until(driven, lambda told: f"headrace_schedule_last_slot_late_seconds{{{ticking}}}" in told)
    assert found[f"headrace_schedule_overdue_slots{{{ticking}}}"] >= 0
    assert found['headrace_schedules{state="followed"}'] == 1
    write_triggers(driven.headrace.project.root, "orders", [])
    await until(driven, lambda told: told['headrace_schedules{state="followed"}'] == 0)
    assert f"headrace_schedule_overdue_slots{{{ticking}}}" not in await samples(driven)


async def test_backfills_that_have_not_ended_are_counted(driven: Api):
    days = {"pipeline": "orders", "start": "2026-02-01", "end": "2026-02-05", "reprocess": "all", "pace": 86400}
    made = await driven.post("/api/v1/backfills", days)
    await driven.post(f"/api/v1/backfills/{made['id']}/pause", status=200)
    shown = await driven.get(f"/api/v1/backfills/{made['id']}")
    found = await samples(driven)
    assert found['headrace_backfills{status="paused"}'] == 1
    assert found['headrace_backfill_intervals_waiting{status="paused"}'] == shown["intervals"]["waiting"] >= 4
    await driven.post(f"/api/v1/backfills/{made['id']}/cancel", status=202)
    found = await samples(driven)
    assert (found['headrace_backfills{status="paused"}'], found['headrace_backfills{status="running"}']) == (0, 0)


async def test_runs_that_pass_their_triggers_sla_are_told_and_counted_while_they_go_on(driven: Api):
    root = driven.headrace.project.root
    write_pipeline(root, "held", {"a": ()}, {"a": "import time\n@custom\ndef a(*args):\n    time.sleep(600)\n"})
    slas = {"late": 0.001, "soon": 3600, "free": None}
    write_triggers(root, "held", [{"name": name, "schedule_type": "api", "sla": sla} for name, sla in slas.items()])
    await driven.served.intake.book.look()
    runs = {}
    for trigger in (await driven.get("/api/v1/triggers"))["items"]:
        if trigger["pipeline"] == "held":
            told = await driven.post(f"/api/v1/triggers/{trigger['id']}/call", status=202)
            runs[trigger["name"]] = told["runs"][0]
    shown = {name: await driven.get(f"/api/v1/runs/{run}") for name, run in runs.items()}
    assert {name: view["passed_sla"] for name, view in shown.items()} == {"late": True, "soon": False, "free": False}
    assert shown["free"]["due"] is None
    assert shown["late"]["due"] < shown["soon"]["due"]
    late = 'headrace_runs_past_sla{pipeline="held",project="shop"}'
    assert (await samples(driven))[late] == 1
    for run in runs.values():
        await driven.post(f"/api/v1/runs/{run}/cancel", status=202)
    await until(driven, lambda told: told[late] == 0)
    assert (await driven.get(f"/api/v1/runs/{runs['late']}"))["passed_sla"] is True


async def test_what_is_told_is_what_is_documented_with_its_labels(driven: Api, triggers: None):
    await driven.served.intake.book.look()
    driven.served.figures.attempt_ended("orders", "completed", 0.1)
    driven.served.figures.run_ended("orders", "completed")
    async with sensor_service(driven.headrace.database, driven.headrace.project.root):
        told = 'headrace_sensor_lag_seconds{project="shop",sensor="giving"}'
        ticking = 'headrace_schedule_last_slot_late_seconds{pipeline="orders",project="shop",trigger="ticking"}'
        await until(driven, lambda found: told in found and ticking in found)
    driven.served.intake.gap_watch.rest = 0.0
    await driven.served.intake.gap_watch.look()
    async with driven.client.get(f"{driven.url}/metrics") as answer:
        text = await answer.text()
    assert documented() == dict(exposed(text))
    assert {family.name for family in Figures().registry.collect()} <= {
        family.name for family in text_string_to_metric_families(text)
    }


def documented() -> dict[str, frozenset[str]]:
    """Each metric of the page with its labels."""
    rows = re.findall(
        r"^\| `(headrace_\w+)` \| (.*?) \|", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE
    )
    return {name: frozenset(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def exposed(text: str) -> list[tuple[str, frozenset[str]]]:
    """Each metric of an exposition with its labels; those that a histogram itself needs are left out."""
    found = []
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("headrace_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found.append((name, frozenset(labels - {"le"})))
    return found
