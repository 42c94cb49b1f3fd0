"""Slots become events and runs, each once, whatever the clock, the database or other services do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from headrace.domain.events import Accepted, NewEvent
from headrace.store.database import Database
from headrace.store.events import PlannedEvent
from headrace.triggers.recording import Recorder

from tests.support.schedules import (
    START,
    MovedClock,
    ScheduleStack,
    schedule,
    slots_of,
    timekeeping,
    until_slot,
    until_slots,
    utc,
)
from tests.support.triggers import write_triggers

EVERY_HOUR = [f"2026-05-06T{hour}:00:00Z" for hour in range(11, 24)]


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def until_told(stack: ScheduleStack) -> None:
    """Have the book and the timekeeper see what changed in the files."""
    await stack.parts.book.look()
    with anyio.fail_after(20):
        while stack.timekeeper.edition < stack.parts.book.edition:
            await anyio.sleep(0.005)


async def test_a_due_slot_makes_a_run_with_mages_dates(database: Database, root: Path, clock: MovedClock) -> None:
    write_triggers(root, "orders", [schedule("hourly", "@hourly", variables={"who": "ada"})])
    async with timekeeping(database, root, clock):
        clock.move(minutes=40)
        await until_slot(database, "hourly", "2026-05-06T11:00:00Z")
    run = await database.fetchrow("SELECT * FROM headrace.run")
    assert run["execution_date"] == utc("2026-05-06T11:00")
    assert run["variables"] == {
        "who": "ada",
        "interval_start_datetime": {"$datetime": "2026-05-06T11:00:00+00:00"},
        "interval_end_datetime": {"$datetime": "2026-05-06T12:00:00+00:00"},
        "interval_seconds": 3600,
        "interval_start_datetime_previous": {"$datetime": "2026-05-06T10:00:00+00:00"},
        "event": {},
        "trigger_name": "hourly",
    }
    event = await database.fetchrow("SELECT * FROM headrace.event")
    assert (event["source"], event["kind"]) == ("schedule:orders/hourly", "slot")
    assert event["occurred_at"] == utc("2026-05-06T11:00")


async def test_nothing_comes_before_its_time(database: Database, root: Path, clock: MovedClock) -> None:
    write_triggers(root, "orders", [schedule("hourly", "@hourly"), schedule("tick", "every 1 second")])
    async with timekeeping(database, root, clock):
        clock.move(minutes=39, seconds=59)
        await until_slot(database, "tick", "2026-05-06T10:59:59Z")
        assert await slots_of(database, "hourly") == []


async def test_several_expressions_in_a_zone_make_one_run_a_slot(
    database: Database, root: Path, clock: MovedClock
) -> None:
    keys = {"timezone": "Europe/Berlin", "dst_fold": "both"}
    write_triggers(root, "orders", [schedule("both", ["30 2 * * *", "*/30 2 * * *"], **keys)])
    clock.at = utc("2026-10-24T12:00")
    async with timekeeping(database, root, clock):
        clock.at = utc("2026-10-25T02:00")
        await until_slot(database, "both", "2026-10-25T02:30:00[Europe/Berlin]#2")
    assert (await slots_of(database, "both"))[-4:] == [
        "2026-10-25T02:00:00[Europe/Berlin]",
        "2026-10-25T02:30:00[Europe/Berlin]",
        "2026-10-25T02:00:00[Europe/Berlin]#2",
        "2026-10-25T02:30:00[Europe/Berlin]#2",
    ]


async def test_a_clock_that_jumps_an_hour_leaves_nothing_out_and_repeats_nothing(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule("quarters", "*/15 * * * *")])
    async with timekeeping(database, root, clock):
        clock.move(hours=1)
        await until_slot(database, "quarters", "2026-05-06T11:15:00Z")
        clock.move(hours=-1)
        for _ in range(5):
            clock.move(minutes=15)
        await until_slot(database, "quarters", "2026-05-06T11:30:00Z")
        clock.move(hours=1)
        await until_slot(database, "quarters", "2026-05-06T12:30:00Z")
    times = ["10:30", "10:45", "11:00", "11:15", "11:30", "11:45", "12:00", "12:15", "12:30"]
    assert await slots_of(database, "quarters") == [f"2026-05-06T{time}:00Z" for time in times]
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == len(times)


POLICIES: dict[str, Any] = {
    "none": "none",
    "latest": "latest",
    "all": "all",
    "bounded": {"policy": "all", "most": 5},
}


async def test_a_service_that_was_stopped_for_a_day_goes_on_by_each_policy(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule(name, "@hourly", catch_up=policy) for name, policy in POLICIES.items()])
    async with timekeeping(database, root, clock):
        clock.move(minutes=40)
        await until_slots(database, [(name, "2026-05-06T11:00:00Z") for name in POLICIES])
    clock.move(days=1)
    async with timekeeping(database, root, clock):
        await until_slots(database, [(name, "2026-05-07T11:00:00Z") for name in ("latest", "all", "bounded")])
        clock.move(hours=1)
        await until_slots(database, [(name, "2026-05-07T12:00:00Z") for name in POLICIES])
    slots = {name: [f"{key[8:10]} {key[11:13]}" for key in await slots_of(database, name)] for name in POLICIES}
    assert slots["none"] == ["06 11", "07 12"]
    assert slots["latest"] == ["06 11", "07 11", "07 12"]
    assert slots["all"] == [f"06 {hour:02}" for hour in range(11, 24)] + [f"07 {hour:02}" for hour in range(13)]
    assert slots["bounded"] == ["06 11", "07 07", "07 08", "07 09", "07 10", "07 11", "07 12"]
    assert await database.fetchval("SELECT count(*) FROM headrace.catching_up") == 0
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == sum(map(len, slots.values()))


async def test_a_pace_holds_for_all_services_together_and_goes_on_where_one_stopped(
    database: Database, root: Path, clock: MovedClock
) -> None:
    pace = {"policy": "all", "pace": 0.2}
    write_triggers(root, "orders", [schedule("paced", "@hourly", catch_up=pace)])
    async with timekeeping(database, root, clock):
        pass
    clock.at = utc("2026-05-06T16:30")
    async with timekeeping(database, root, clock):
        await until_slot(database, "paced", "2026-05-06T11:00:00Z")
    async with timekeeping(database, root, clock), timekeeping(database, root, clock):
        await until_slot(database, "paced", "2026-05-06T16:00:00Z")
    assert await slots_of(database, "paced") == EVERY_HOUR[:6]
    received = [row["at"] for row in await database.fetch("SELECT received_at AS at FROM headrace.event ORDER BY id")]
    assert received[-1] - received[0] >= timedelta(seconds=0.2 * 5 - 0.05)
    assert await database.fetchval("SELECT count(*) FROM headrace.catching_up") == 0


async def test_a_changed_schedule_counts_from_its_change(database: Database, root: Path, clock: MovedClock) -> None:
    write_triggers(root, "orders", [schedule("t", "@daily", catch_up="all")])
    async with timekeeping(database, root, clock) as stack:
        clock.at = utc("2026-05-07T10:30")
        await until_slot(database, "t", "2026-05-07T00:00:00Z")
        write_triggers(root, "orders", [schedule("t", "@hourly", catch_up="all")])
        await until_told(stack)
        clock.move(hours=1)
        await until_slot(database, "t", "2026-05-07T11:00:00Z")
    async with timekeeping(database, root, clock):
        clock.move(hours=1)
        await until_slot(database, "t", "2026-05-07T12:00:00Z")
    assert await slots_of(database, "t") == ["2026-05-07T00:00:00Z", "2026-05-07T11:00:00Z", "2026-05-07T12:00:00Z"]


async def test_slots_while_a_trigger_was_inactive_are_nobodys(
    database: Database, root: Path, clock: MovedClock
) -> None:
    keys = {"catch_up": "all", "last_enabled_at": None}
    clock.at = utc("2027-01-01T10:20")  # after the database's own time, by which the trigger is enabled
    write_triggers(root, "orders", [schedule("t", "@hourly", **keys)])
    async with timekeeping(database, root, clock) as stack:
        clock.move(hours=1)
        await until_slot(database, "t", "2027-01-01T11:00:00Z")
        write_triggers(root, "orders", [schedule("t", "@hourly", status="inactive", **keys)])
        await until_told(stack)
        assert list(stack.timekeeper._watches.all) == []
        await database.execute("UPDATE headrace.trigger SET enabled_at = '2020-01-01'")
        write_triggers(root, "orders", [schedule("t", "@hourly", **keys)])
        await until_told(stack)
    enabled_at = await database.fetchval("SELECT enabled_at FROM headrace.trigger")
    assert enabled_at.year > 2020


async def test_the_initial_run_is_made_where_it_is_asked_for(database: Database, root: Path, clock: MovedClock) -> None:
    asked = {"settings": {"create_initial_pipeline_run": True}}
    write_triggers(root, "orders", [schedule("first", "@daily", **asked), schedule("later", "@daily")])
    async with timekeeping(database, root, clock):
        await until_slot(database, "first", "2026-05-06T00:00:00Z")
    async with timekeeping(database, root, clock):
        clock.move(days=1)
        await until_slots(database, [("first", "2026-05-07T00:00:00Z"), ("later", "2026-05-07T00:00:00Z")])
    assert await slots_of(database, "first") == ["2026-05-06T00:00:00Z", "2026-05-07T00:00:00Z"]
    assert await slots_of(database, "later") == ["2026-05-07T00:00:00Z"]


async def test_once_is_one_run_however_often_services_start(database: Database, root: Path, clock: MovedClock) -> None:
    write_triggers(root, "orders", [schedule("once", "@once"), schedule("tick", "every 1 minute")])
    for minute in (21, 22, 23):
        async with timekeeping(database, root, clock):
            clock.move(minutes=1)
            await until_slots(database, [("once", "once"), ("tick", f"2026-05-06T10:{minute}:00Z")])
    assert await slots_of(database, "once") == ["once"]


async def ended(database: Database, source: str) -> None:
    await database.execute(
        "UPDATE headrace.run AS r SET status = 'completed', finished_at = now() FROM headrace.trigger AS t "
        "WHERE t.id = r.trigger_id AND t.source = $1 AND r.status = 'initial'",
        source,
    )


async def until_runs(database: Database, count: int) -> None:
    with anyio.fail_after(20):
        while await database.fetchval("SELECT count(*) FROM headrace.run") < count:
            await anyio.sleep(0.005)


async def test_always_on_has_one_run_under_way_and_a_new_one_when_it_ends(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule("on", "@always_on")])
    async with timekeeping(database, root, clock), timekeeping(database, root, clock) as stack:
        for count in (1, 2, 3):
            await until_runs(database, count)
            await stack.timekeeper.always_on.look()
            assert await database.fetchval("SELECT count(*) FROM headrace.run") == count
            await ended(database, "schedule:orders/on")
        await until_runs(database, 4)
    keys = await database.fetch("SELECT key FROM headrace.event ORDER BY id")
    assert len({row["key"] for row in keys}) == 4


async def test_always_on_waits_for_its_start_and_stops_at_its_end(
    database: Database, root: Path, clock: MovedClock
) -> None:
    times = {"start_time": "2026-05-06 11:00", "end_time": "2026-05-06 12:00"}
    write_triggers(root, "orders", [schedule("on", "@always_on", **times)])
    async with timekeeping(database, root, clock) as stack:
        await stack.timekeeper.always_on.look()
        assert await database.fetchval("SELECT count(*) FROM headrace.run") == 0
        clock.move(hours=1)
        await until_runs(database, 1)
        clock.move(hours=1)
        await ended(database, "schedule:orders/on")
        await stack.timekeeper.always_on.look()
        assert await database.fetchval("SELECT count(*) FROM headrace.run") == 1


async def test_always_on_is_not_asked_again_and_again_where_its_events_make_no_run(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule("on", "@always_on", filter="false")])
    async with timekeeping(database, root, clock) as stack:
        for _ in range(5):
            await stack.timekeeper.always_on.look()
    assert await database.fetchval("SELECT count(*) FROM headrace.event") == 1


async def test_a_run_with_landing_time_starts_as_early_as_the_last_ones_took(
    database: Database, root: Path, clock: MovedClock
) -> None:
    keys = {"settings": {"landing_time_enabled": True}, "start_time": "2026-05-01 12:30"}
    write_triggers(root, "orders", [schedule("landing", "@daily", **keys), schedule("tick", "every 1 minute")])
    async with timekeeping(database, root, clock) as stack:
        await until_slot(database, "landing", "2026-05-06T12:30:00Z")  # no run yet: at once
        await database.execute(
            "UPDATE headrace.run AS r SET status = 'completed', finished_at = r.created_at + interval '10 minutes' "
            "FROM headrace.trigger AS t WHERE t.id = r.trigger_id AND t.name = 'landing'"
        )
        await stack.timekeeper.look_at_landings()
        clock.at = utc("2026-05-07T12:19")
        await until_slot(database, "tick", "2026-05-07T12:19:00Z")
        assert await slots_of(database, "landing") == ["2026-05-06T12:30:00Z"]
        clock.move(minutes=1)
        await until_slot(database, "landing", "2026-05-07T12:30:00Z")
    dates = await database.fetch("SELECT execution_date AS at FROM headrace.run AS r JOIN headrace.trigger AS t "
                                 "ON t.id = r.trigger_id WHERE t.name = 'landing' ORDER BY r.id")  # fmt: skip
    assert [row["at"] for row in dates] == [utc("2026-05-06T12:30"), utc("2026-05-07T12:30")]


async def test_a_slot_while_the_last_run_is_under_way_is_skipped_where_that_is_asked_for(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule("t", "@hourly", settings={"skip_if_previous_running": True})])
    async with timekeeping(database, root, clock):
        for hour in (11, 12):
            clock.at = utc(f"2026-05-06T{hour}:00")
            await until_slot(database, "t", f"2026-05-06T{hour}:00:00Z")
    fates = await database.fetch("SELECT fate FROM headrace.event_fate ORDER BY event_id")
    assert [row["fate"] for row in fates] == ["run", "skipped"]


async def test_a_trigger_that_goes_is_followed_no_more_and_others_go_on(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule("gone", "@hourly"), schedule("stays", "@hourly")])
    async with timekeeping(database, root, clock) as stack:
        write_triggers(root, "orders", [schedule("stays", "@hourly")])
        await until_told(stack)
        clock.move(hours=1)
        await until_slot(database, "stays", "2026-05-06T11:00:00Z")
    assert await slots_of(database, "gone") == []


async def test_slots_wait_for_a_database_that_is_away_and_none_is_lost(
    database: Database, root: Path, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_triggers(root, "orders", [schedule("t", "every 1 second")])
    async with timekeeping(database, root, clock) as stack:
        acceptor, failures = stack.parts.acceptor, 3
        accept_all = acceptor.accept_all

        async def away(events: Sequence[NewEvent]) -> list[Accepted]:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise ConnectionRefusedError("nobody there")
            return await accept_all(events)

        monkeypatch.setattr(acceptor, "accept_all", away)
        clock.move(seconds=250)
        await until_slot(database, "t", "2026-05-06T10:24:10Z")
    assert len(await slots_of(database, "t")) == 251
    assert failures < 0


@dataclass
class RefusesSlot:
    """Records events as a service does, but for one slot: whenever that comes, the database is away."""

    recorder: Recorder
    key: str
    refused: int = 0

    async def record(self, planned: Sequence[PlannedEvent]) -> list[Accepted]:
        if any(item.event.key == self.key for item in planned):
            self.refused += 1
            raise ConnectionResetError("the database went away")
        return await self.recorder.record(planned)

    async def record_in(self, connection: Any, planned: Sequence[PlannedEvent]) -> list[Accepted]:
        return await self.recorder.record_in(connection, planned)


async def test_no_slot_is_an_event_before_the_one_before_it_is_so_that_a_death_in_between_loses_none(
    database: Database, root: Path, clock: MovedClock
) -> None:
    limit = {"max_active_runs": 1, "at_limit": "cancel_oldest"}  # slots of such a trigger are committed one by one
    write_triggers(root, "orders", [schedule("t", "every 1 minute", catch_up="all", **limit)])
    first, *keys = [f"2026-05-06T10:2{minute}:00Z" for minute in range(4)]
    async with timekeeping(database, root, clock) as stack:
        await until_slot(database, "t", first)
        acceptor = stack.parts.acceptor
        recorder: Any = RefusesSlot(acceptor.recorder, keys[0])
        acceptor.recorder = recorder
        clock.move(minutes=3)
        with anyio.fail_after(20):
            while recorder.refused < 2:
                await anyio.sleep(0.005)
    assert await slots_of(database, "t") == [first]
    async with timekeeping(database, root, clock):
        await until_slot(database, "t", keys[-1])
    assert await slots_of(database, "t") == [first, *keys]


async def test_after_a_fault_of_its_own_it_starts_again_and_no_slot_is_lost(
    database: Database, root: Path, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_triggers(root, "orders", [schedule("t", "every 1 minute", catch_up="none")])
    async with timekeeping(database, root, clock) as stack:
        acceptor, faults = stack.parts.acceptor, [RuntimeError("a fault of ours")]
        accept_all = acceptor.accept_all

        async def faulty(events: Sequence[NewEvent]) -> list[Accepted]:
            if faults:
                raise faults.pop()
            return await accept_all(events)

        monkeypatch.setattr(acceptor, "accept_all", faulty)
        clock.move(minutes=3)
        await until_slot(database, "t", "2026-05-06T10:23:00Z")
    assert await slots_of(database, "t") == [f"2026-05-06T10:2{minute}:00Z" for minute in (1, 2, 3)]


async def test_a_schedule_that_cannot_be_followed_here_harms_no_other(
    database: Database, root: Path, clock: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    write_triggers(root, "orders", [schedule("bad", "@hourly"), schedule("good", "@hourly")])
    async with timekeeping(database, root, clock) as stack:
        await database.execute(
            "UPDATE headrace.trigger SET origin = 'api', updated_at = now() + interval '1 second', "
            "definition = jsonb_set(definition::jsonb, '{when,timezone}', '\"Mars/Olympus\"') WHERE name = 'bad'"
        )
        await until_told(stack)
        write_triggers(root, "orders", [schedule(name, "@hourly") for name in ("bad", "good", "new")])
        await until_told(stack)
        clock.move(hours=1)
        await until_slot(database, "good", "2026-05-06T11:00:00Z")
    told = [record.getMessage() for record in caplog.records if "cannot be followed" in record.getMessage()]
    assert len(told) == 1
    assert "Mars/Olympus" in told[0]


@pytest.mark.alone
async def test_five_hundred_slots_of_one_second_are_events_within_a_second(
    database: Database, root: Path, clock: MovedClock
) -> None:
    write_triggers(root, "orders", [schedule(f"t{number}", "0 12 * * *") for number in range(500)])
    async with timekeeping(database, root, clock):
        clock.at = utc("2026-05-06T12:00")
        began = asyncio.get_running_loop().time()
        with anyio.fail_after(20):
            while await database.fetchval("SELECT count(*) FROM headrace.event") < 500:
                await anyio.sleep(0.01)
        took = asyncio.get_running_loop().time() - began
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == 500
    assert took < 1.0


def test_the_clocks_of_these_tests_begin_on_a_wednesday():
    assert START.weekday() == 2
