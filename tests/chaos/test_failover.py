"""A server that dies for good: its synchronous standby takes its place, and has every event that was accepted."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import asyncpg
import pytest
from headrace.store.database import open_database

from tests.chaos.checker import faults
from tests.chaos.deliveries import ledger_faults
from tests.chaos.fleet import Fleet
from tests.chaos.rest import at_rest
from tests.chaos.scene import Errand
from tests.chaos.writers import Line, Sent
from tests.support.projects import write_pipeline, write_project
from tests.support.proxy import Proxy, proxy
from tests.support.replicas import Replicas, replicas
from tests.support.triggers import webhook, write_triggers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

WRITERS, EVENTS = 6, 20
LEASE = 1.0
REST_SECONDS = 120.0
BODY = """
import time
@custom
def body(*args, **kwargs):
    time.sleep(0.05)
    with open({ledger!r}, "a") as ledger:
        ledger.write(f"{{kwargs['pipeline_run_id']}} {{kwargs['block_uuid']}}\\n")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "project")
    write_pipeline(root, "chain", {"one": (), "two": ("one",)}, default=BODY.format(ledger=str(tmp_path / "ledger")))
    write_triggers(root, "chain", [webhook("inbox")])
    return root


async def write(line: Line, writer: int, sent: Sent, halfway: asyncio.Event) -> None:
    for number in range(EVENTS):
        errand = Errand(f"{writer}-{number}", {"n": number}, "webhook:inbox")
        sent.note(errand, await line.deliver(errand.request))
        if number == EVENTS // 2:
            halfway.set()
    line.close()


async def fail_over(servers: Replicas, between: Proxy, halfway: asyncio.Event) -> None:
    await halfway.wait()
    between.silence()  # whoever is in the middle of something hears nothing more of the old server
    await servers.fail_over()
    between.speak()
    between.lead_to(servers.standby.dsn)


async def test_fault_06_after_a_failover_every_event_that_was_accepted_is_there_and_every_run_ends(
    project: Path, tmp_path: Path
):
    sent, halfway = Sent(), asyncio.Event()
    async with replicas() as servers, proxy(servers.primary.dsn) as between:
        fleet = Fleet(project, tmp_path, {**os.environ, "HEADRACE_DATABASE_URL": between.url}, 2, LEASE)
        try:
            await fleet.start()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail_over(servers, between, halfway))
                for writer in range(WRITERS):
                    tasks.create_task(write(Line(fleet.doors, random.Random(writer)), writer, sent, halfway))
            async with open_database(tmp_path, {"HEADRACE_DATABASE_URL": servers.standby.dsn}) as database:
                await at_rest(database, REST_SECONDS)
            await fleet.stop()
        finally:
            await fleet.kill_all()
        connection = await asyncpg.connect(servers.standby.dsn)
        try:
            assert await faults(connection) == []
            assert await ledger_faults(connection, tmp_path / "ledger") == []
            kept = {row["key"]: row["id"] for row in await connection.fetch("SELECT id, key FROM headrace.event")}
            ended = await connection.fetch("SELECT status, count(*) AS runs FROM headrace.run GROUP BY status")
        finally:
            await connection.close()
    assert kept == {errand.key: answer["event"] for errand, answer in sent.answers.items()}
    assert len(kept) == WRITERS * EVENTS
    assert {row["status"]: row["runs"] for row in ended} == {"completed": WRITERS * EVENTS}
    assert sent.faults == []
    assert fleet.faults == []
