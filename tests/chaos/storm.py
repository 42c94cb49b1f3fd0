"""A storm: events, slots, sensors' positions and deliveries pour in, services, workers and Postgres die; in the end all is
there, and once."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import asyncpg
from headrace.domain.intervals import read_every
from headrace.service import Headrace, open_headrace
from headrace.triggers.backfilling import Backfilling, BackfillRequest

from tests.chaos.checker import faults
from tests.chaos.deliveries import delivery_faults, ledger_faults
from tests.chaos.feed import Feed
from tests.chaos.fleet import Fleet
from tests.chaos.posting import Post, Sender
from tests.chaos.rest import at_rest
from tests.chaos.scene import next_errand, write_scene
from tests.chaos.strikes import WEATHERS, Kind, Struck, plan_strikes
from tests.chaos.timetable import Timetable
from tests.chaos.writers import Line, Sent
from tests.support.postgres import server_environ, server_home

LEASE = 1.0
START_SECONDS = 60.0
DRAIN_SECONDS = 180.0
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

COUNTS = """
SELECT (SELECT count(*) FROM headrace.event) AS events, (SELECT count(*) FROM headrace.run) AS runs,
       (SELECT count(*) FROM headrace.event WHERE source LIKE 'schedule:%') AS slots,
       (SELECT count(*) FROM headrace.event WHERE source LIKE 'sensor:%') AS told,
       (SELECT sum(fence) FROM headrace.sensor) AS holders,
       (SELECT count(*) FROM headrace.attempt) AS attempts,
       (SELECT count(*) FROM headrace.attempt WHERE outcome = 'lost') AS lost,
       (SELECT count(*) FROM headrace.run WHERE fence > 1) AS taken_over
"""


@dataclass(frozen=True, slots=True)
class StormPlan:
    """How long, from which seed, and how much of everything."""

    seconds: float
    seed: int
    services: int = 3
    weather: str = "mixed"
    """What strikes: a name in `strikes.WEATHERS`."""
    writers: int = 12
    senders: int = 4
    """Of webhooks, over HTTP."""
    pace: float = 4.0
    """Events a second of one writer, and deliveries of one sender."""
    repeats: float = 0.2
    """The share of events that are sent once more."""
    intervals: int = 12
    """Of the backfill that runs beside the events."""


@dataclass
class Report:
    """What happened, in numbers, and every promise that was broken."""

    plan: StormPlan
    counts: dict[str, int] = field(default_factory=dict)
    strikes: dict[Kind, int] = field(default_factory=dict)
    drained_in: float = 0.0
    violations: list[str] = field(default_factory=list)
    log: Path | None = None
    """What the services said, kept only where a promise was broken."""

    def lines(self) -> list[str]:
        """The report as it is printed."""
        plan = self.plan
        head = f"storm of {plan.seconds:g} s, seed {plan.seed}, {plan.services} services, {plan.weather} weather"
        struck = [f"  {kind}: {count}" for kind, count in sorted(self.strikes.items())]
        counted = [f"  {name}: {count}" for name, count in self.counts.items()]
        found = [f"  {violation}" for violation in self.violations] or ["  none"]
        kept = [] if self.log is None else [f"the services' log: {self.log}"]
        drained = f"drained in {self.drained_in:.1f} s"
        return [
            head,
            f"strikes: {sum(self.strikes.values())}",
            *struck,
            "counted:",
            *counted,
            drained,
            "violations:",
            *found,
            *kept,
        ]


@asynccontextmanager
async def _scene(home: Path) -> AsyncIterator[Headrace]:
    """The project and its database, with a connection to it that drives nothing."""
    project = home / "project"
    write_scene(project, home / "ledger")
    async with open_headrace(project, environ=server_environ(home), drive=False) as headrace:
        yield headrace


async def storm(planned: StormPlan) -> Report:
    """Let a storm pass over a project and a server of its own, and look at what is left."""
    with server_home() as home:
        async with _scene(home) as headrace:
            fleet = Fleet(headrace.project.root, home, server_environ(home), planned.services, LEASE)
            try:
                report = await _Passage(planned, headrace, fleet).passed()
            finally:
                await fleet.kill_all()
        if report.violations:
            report.log = _kept(fleet.log)
        return report


def _kept(log: Path) -> Path:
    """A copy of the services' log outside of the home, which goes."""
    handle, name = tempfile.mkstemp(prefix="headrace-storm-", suffix=".log")
    os.close(handle)
    return Path(shutil.copyfile(log, name))


@dataclass
class _Passage:
    """One storm while it passes, with what everybody who sends something keeps of it."""

    plan: StormPlan
    headrace: Headrace
    fleet: Fleet
    sent: Sent = field(default_factory=Sent)
    post: Post = field(default_factory=Post)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    feed: Feed = field(init=False)
    lines: list[Line] = field(init=False)

    def __post_init__(self) -> None:
        self.feed = Feed(self.fleet.folder)
        self.lines = [Line(self.fleet.doors, self._chance(number)) for number in range(self.plan.writers)]

    def _chance(self, number: int) -> random.Random:
        return random.Random(self.plan.seed * 1000 + number)

    async def passed(self) -> Report:
        """Let it pass and everything drain; what was found."""
        plan, folder = self.plan, self.headrace.database.address.folder
        assert folder is not None
        chance = random.Random(plan.seed)
        strikes = list(plan_strikes(chance, plan.seconds, plan.services, LEASE, WEATHERS[plan.weather]))
        struck, report = Struck(self.fleet, folder, self.headrace.database.address.dsn), Report(plan)
        self.feed.write_sensors(self.headrace.project.root)
        await self._backfill()
        await self.fleet.start()
        await self._let_in()
        timetable = Timetable.of(datetime.now(UTC), plan.seconds)
        timetable.write(self.headrace.project.root)
        await self._while_all_send(struck.carry_out(strikes))
        report.strikes = struck.counts
        report.drained_in = await at_rest(self.headrace.database, DRAIN_SECONDS, timetable.is_over, self.feed.is_read)
        report.violations = await self._inside_transactions()
        await self.fleet.stop()
        report.violations += [*self.fleet.faults, *self.sent.faults, *self.post.faults]
        report.violations += await self._violations(timetable)
        report.counts = {**self._counted(), **await _database_counts(self.headrace)}
        return report

    async def _backfill(self) -> None:
        last = FIRST + (self.plan.intervals - 1) * timedelta(hours=1)
        await Backfilling(self.headrace.database).create(
            BackfillRequest(self.headrace.project_id, "filled", FIRST, last, read_every("hour"), concurrency=2)
        )

    async def _let_in(self) -> None:
        """Wait until every service takes events."""
        async with asyncio.timeout(START_SECONDS):
            for number, door in enumerate(self.fleet.doors):
                line = Line([door], random.Random(number))
                await line.deliver({"source": "webhook:nobody", "key": f"first-{number}", "payload": {}})
                line.close()

    async def _while_all_send(self, strikes: Awaitable[None]) -> None:
        """Have everybody send until the strikes are over; whatever was begun is delivered."""
        async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as tasks:
            for number, line in enumerate(self.lines):
                tasks.create_task(self._write(line, number))
            for number in range(self.plan.senders):
                chance = self._chance(self.plan.writers + number)
                sender = Sender(self.fleet.addresses, number, self.post, chance, client)
                tasks.create_task(sender.send_until(self.over, self.plan.pace))
            tasks.create_task(self.feed.pour(self._chance(-1), self.over))
            await strikes
            self.over.set()

    async def _write(self, line: Line, number: int) -> None:
        chance, count = line.chance, 0
        while not self.over.is_set():
            errand = next_errand(chance, number, count)
            count += 1
            for _ in range(2 if chance.random() < self.plan.repeats else 1):
                self.sent.note(errand, await line.deliver(errand.request))
            await asyncio.sleep(chance.uniform(0.0, 2.0 / self.plan.pace))
        line.close()

    async def _inside_transactions(self) -> list[str]:
        """Connections of services that stand inside a transaction although nothing is to be done."""
        rows = await self.headrace.database.retrying(lambda: self.headrace.database.fetch(INSIDE))
        return [f"a connection stands inside a transaction since {row['since']}: {row['query']}" for row in rows]

    async def _violations(self, timetable: Timetable) -> list[str]:
        connection = await asyncpg.connect(self.headrace.database.address.dsn)
        try:
            found = await faults(connection)
            found += await delivery_faults(connection, self.sent)
            found += await ledger_faults(connection, self.fleet.folder / "ledger")
            found += await timetable.faults(connection)
            found += await self.feed.faults(connection)
            return found + await self.post.delivery_faults(connection)
        finally:
            await connection.close()

    def _counted(self) -> dict[str, int]:
        return {
            "events sent": len(self.sent.answers),
            "sent again": self.sent.repeats,
            "requests without an answer": sum(line.failures for line in self.lines),
            "deliveries to webhooks": len(self.post.answers),
            "posts without an answer": self.post.failures,
            "posts that were answered with 503": self.post.refused[503],
            "posts whose answer was lost": self.post.lost,
            "posts that were given up at once": self.post.hung_up,
            "positions for sensors": self.feed.positions,
        }


INSIDE = """
SELECT query, state_change::text AS since FROM pg_stat_activity
WHERE application_name = 'headrace' AND state LIKE 'idle in transaction%' AND state_change < now() - interval '2 seconds'
"""


async def _database_counts(headrace: Headrace) -> dict[str, int]:
    row = await headrace.database.fetchrow(COUNTS)
    return {
        "events recorded": row["events"],
        "slots of schedules": row["slots"],
        "events of sensors": row["told"],
        "holders of sensors": row["holders"],
        "runs": row["runs"],
        "runs taken over": row["taken_over"],
        "attempts": row["attempts"],
        "attempts lost": row["lost"],
    }
