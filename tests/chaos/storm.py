"""A storm: writers pour events in, services, workers and Postgres die; in the end all is there, and once."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from headrace.domain.intervals import read_every
from headrace.service import Headrace, open_headrace
from headrace.triggers.backfilling import Backfilling, BackfillRequest

from tests.chaos.checker import faults
from tests.chaos.deliveries import delivery_faults, ledger_faults
from tests.chaos.fleet import Fleet
from tests.chaos.rest import at_rest
from tests.chaos.scene import next_errand, write_scene
from tests.chaos.strikes import Kind, Struck, plan
from tests.chaos.writers import Line, Sent
from tests.support.postgres import server_environ, server_home

LEASE = 1.0
START_SECONDS = 60.0
DRAIN_SECONDS = 180.0
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

COUNTS = """
SELECT (SELECT count(*) FROM headrace.event) AS events, (SELECT count(*) FROM headrace.run) AS runs,
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
    writers: int = 12
    pace: float = 4.0
    """Events a second of one writer."""
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
        head = f"storm of {self.plan.seconds:g} s, seed {self.plan.seed}, {self.plan.services} services"
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
                report = await _passed(planned, headrace, fleet)
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


async def _passed(planned: StormPlan, headrace: Headrace, fleet: Fleet) -> Report:
    chance = random.Random(planned.seed)
    folder = headrace.database.address.folder
    assert folder is not None
    struck, sent, report = Struck(fleet, folder, headrace.database.address.dsn), Sent(), Report(planned)
    strikes = list(plan(chance, planned.seconds, planned.services, LEASE))
    await _backfill(planned, headrace)
    await fleet.start()
    await _let_in(fleet)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        lines = [tasks.create_task(_write(planned, fleet, number, sent, over)) for number in range(planned.writers)]
        await struck.carry_out(strikes)
        over.set()
    report.strikes = struck.counts
    report.drained_in = await at_rest(headrace.database, DRAIN_SECONDS)
    await fleet.stop()
    report.violations = [*fleet.faults, *sent.faults, *await _violations(headrace, sent, fleet.folder / "ledger")]
    report.counts = {**_counted(sent, [line.result() for line in lines]), **await _database_counts(headrace)}
    return report


async def _backfill(planned: StormPlan, headrace: Headrace) -> None:
    last = FIRST + (planned.intervals - 1) * timedelta(hours=1)
    await Backfilling(headrace.database).create(
        BackfillRequest(headrace.project_id, "filled", FIRST, last, read_every("hour"), concurrency=2)
    )


async def _let_in(fleet: Fleet) -> None:
    """Wait until every service takes events."""
    async with asyncio.timeout(START_SECONDS):
        for number, door in enumerate(fleet.doors):
            line = Line([door], random.Random(number))
            await line.deliver({"source": "webhook:nobody", "key": f"first-{number}", "payload": {}})
            line.close()


async def _write(planned: StormPlan, fleet: Fleet, number: int, sent: Sent, over: asyncio.Event) -> Line:
    """Write until the storm is over; whatever was begun is delivered."""
    chance = random.Random(planned.seed * 1000 + number)
    line = Line(fleet.doors, chance)
    count = 0
    while not over.is_set():
        errand = next_errand(chance, number, count)
        count += 1
        for _ in range(2 if chance.random() < planned.repeats else 1):
            sent.note(errand, await line.deliver(errand.request))
        await asyncio.sleep(chance.uniform(0.0, 2.0 / planned.pace))
    line.close()
    return line


async def _violations(headrace: Headrace, sent: Sent, ledger: Path) -> list[str]:
    connection = await asyncpg.connect(headrace.database.address.dsn)
    try:
        found = await faults(connection)
        found += await delivery_faults(connection, sent)
        return found + await ledger_faults(connection, ledger)
    finally:
        await connection.close()


def _counted(sent: Sent, lines: list[Line]) -> dict[str, int]:
    return {
        "events sent": len(sent.answers),
        "sent again": sent.repeats,
        "requests without an answer": sum(line.failures for line in lines),
    }


async def _database_counts(headrace: Headrace) -> dict[str, int]:
    row = await headrace.database.fetchrow(COUNTS)
    return {
        "events recorded": row["events"],
        "runs": row["runs"],
        "runs taken over": row["taken_over"],
        "attempts": row["attempts"],
        "attempts lost": row["lost"],
    }
