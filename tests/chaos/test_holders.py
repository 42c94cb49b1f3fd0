"""Faults 1 and 16 at a limit of one: whoever holds the only place is killed, and the next one starts in time.

The short form kills a few; HEADRACE_CHAOS_HOLDERS=50 is the long one.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import yaml
from headrace.store.database import Database

from tests.chaos.checker import faults
from tests.chaos.fleet import Fleet
from tests.chaos.rest import at_rest
from tests.chaos.telling import tell
from tests.support.projects import write_pipeline, write_project
from tests.support.triggers import write_triggers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

HOLDERS = int(os.environ.get("HEADRACE_CHAOS_HOLDERS", "2"))
"""How many holders are killed; the long form kills 50."""
LEASE = 1.0
PLAIN_STARTS = 5
WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.005

BODY = """
import os, time
@custom
def body(*args, **kwargs):
    with open({starts!r}, "a") as starts:
        starts.write(f"{{kwargs['pipeline_run_id']}} {{kwargs['retry']['attempts']}} {{time.time()}}\\n")
    while kwargs["retry"]["attempts"] == 1 and not os.path.exists({over!r}):
        time.sleep(0.01)
"""
"""Holds its place until its service is killed; the second attempt gives it back at once."""
LIMITS = {
    "one run": ({}, {"max_active_runs": 1, "at_limit": "queue"}),
    "one slot": ({"pool": "press"}, {}),
}


@dataclass(frozen=True)
class Start:
    """A body that began."""

    run: int
    attempt: int
    at: float


@dataclass
class Holders:
    """Three services of a project with a limit of one, and the bodies that have begun in them."""

    fleet: Fleet
    folder: Path
    client: aiohttp.ClientSession
    connection: asyncpg.Connection

    def starts(self) -> list[Start]:
        """Those that began, in their order."""
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Start(int(run), int(attempt), float(at)) for run, attempt, at in map(str.split, lines)]

    async def next_start(self, seen: int) -> Start:
        """The first body that begins after so many."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(starts := self.starts()) <= seen:
                await asyncio.sleep(LOOK_SECONDS)
        return starts[seen]

    async def holder(self) -> tuple[int, int]:
        """The service whose body holds the place, and how many had begun by then; waits until there is one."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                starts = self.starts()
                if starts and starts[-1].attempt == 1 and (who := await self._driver(starts[-1].run)) is not None:
                    return who, len(starts)
                await asyncio.sleep(LOOK_SECONDS)

    async def _driver(self, run: int) -> int | None:
        pid = await self.connection.fetchval(
            "SELECT s.pid FROM headrace.run r JOIN headrace.service s ON s.id = r.owner WHERE r.id = $1", run
        )
        pids = [self.fleet.pid(who) for who in range(self.fleet.services)]
        return pids.index(pid) if pid in pids else None

    async def all_ready(self) -> None:
        """Wait until every service can take over."""
        async with asyncio.timeout(WAIT_SECONDS * 2):
            for address in self.fleet.addresses:
                while not await self._is_ready(address):
                    await asyncio.sleep(LOOK_SECONDS)

    async def _is_ready(self, address: Path) -> bool:
        try:
            async with self.client.get(f"{address.read_text()}/readyz") as answer:
                return answer.status == 200
        except (OSError, aiohttp.ClientError):
            return False

    async def post(self) -> None:
        """One event, which makes a run."""
        async with self.client.post(f"{self.fleet.addresses[0].read_text()}/hooks/{'held'}", json={}) as answer:
            assert answer.status == 202, await answer.text()

    async def kill_holder(self) -> float:
        """kill -9 of the service whose body holds the place; seconds until the next body began."""
        await self.all_ready()
        who, seen = await self.holder()
        killed_at = time.time()
        killing = asyncio.create_task(self.fleet.kill(who, 0.0))
        began = await self.next_start(seen)
        assert await killing
        return began.at - killed_at


def write_scene(tmp_path: Path, limit: str) -> Path:
    root = write_project(tmp_path / "project")
    (root / "metadata.yaml").write_text(yaml.safe_dump({"project_type": "standalone", "pools": {"press": 1}}))
    block, trigger = LIMITS[limit]
    body = BODY.format(starts=str(tmp_path / "starts"), over=str(tmp_path / "over"))
    write_pipeline(root, "held", {"only": ()}, default=body, block_options={"only": block})
    hook = {"path": "held", "preset": "none"}
    write_triggers(root, "held", [{"name": "held", "schedule_type": "webhook", "webhook": hook, **trigger}])
    return root


async def plain_start(holders: Holders, database: Database) -> float:
    """Seconds from an event to its body on this machine, when nobody is in the way: the median of some."""
    took = []
    for number in range(PLAIN_STARTS):
        posted_at = time.time()
        await holders.post()
        took.append((await holders.next_start(number)).at - posted_at)
        await at_rest(database, WAIT_SECONDS)
    return statistics.median(took)


@pytest.mark.parametrize("limit", LIMITS)
async def test_the_next_one_starts_within_the_lease_and_a_second_after_its_holder_was_killed(
    tmp_path: Path, database_url: str, database: Database, limit: str
):
    fleet = Fleet(
        write_scene(tmp_path, limit), tmp_path, {**os.environ, "HEADRACE_DATABASE_URL": database_url}, 3, LEASE
    )
    connection, over = await asyncpg.connect(database_url), tmp_path / "over"
    try:
        await fleet.start()
        async with aiohttp.ClientSession() as client:
            holders = Holders(fleet, tmp_path, client, connection)
            await holders.all_ready()
            over.touch()
            plain = await plain_start(holders, database)
            over.unlink()
            for _ in range(HOLDERS + 2):
                await holders.post()
            took = [await holders.kill_holder() for _ in range(HOLDERS)]
            over.touch()
            await at_rest(database, WAIT_SECONDS * 2)
            await fleet.stop()
        tell(
            f"{limit}: {HOLDERS} holders killed, the next one started after {statistics.median(took):.2f} s in the median, "
            f"{max(took):.2f} s at most; undisturbed {plain:.3f} s"
        )
        assert max(took) < LEASE + max(1.0, 20 * plain), took
        assert await connection.fetchval("SELECT count(*) FROM headrace.slot") == 0
        assert await connection.fetchval("SELECT count(*) FROM headrace.admission") == 0
        assert await connection.fetchval("SELECT count(*) FROM headrace.attempt WHERE outcome = 'lost'") == HOLDERS
        assert await faults(connection) == []
        assert fleet.faults == []
    finally:
        await connection.close()
        await fleet.kill_all()
