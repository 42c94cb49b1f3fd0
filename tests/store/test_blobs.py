"""A blob that is stored once for several runs: whoever takes it for its own finds it there, whatever is swept."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from headrace.store.database import Database
from headrace.store.outputs import blob_parts, drop_orphan_blobs, store_blob
from headrace.store.queries import QUERIES

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
CONTENTS = 4
ROUNDS = 40


@pytest.fixture
async def project(database: Database) -> int:
    await database.execute("INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('h', 'p', '{}')")
    return int(await database.fetchval("INSERT INTO headrace.project (path, name) VALUES ('/p', 'p') RETURNING id"))


async def running(database: Database, project: int) -> int:
    made = (
        "INSERT INTO headrace.run (project_id, pipeline, version, status) VALUES ($1, 'p', 'h', 'running') RETURNING id"
    )
    return int(await database.fetchval(made, project))


async def end(database: Database, run: int) -> None:
    await database.execute("UPDATE headrace.run SET status = 'completed', finished_at = now() WHERE id = $1", run)


async def record(database: Database, run: int, blob: UUID) -> None:
    await database.execute(
        "INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, blob)"
        " VALUES ($1, 'b', 0, 1, 'pickle', 1, $2)",
        run, blob,
    )  # fmt: skip


async def content(database: Database, blob: UUID) -> bytes:
    return b"".join([part async for part in blob_parts(database, blob)])


async def test_a_sweep_that_saw_a_blob_lie_idle_does_not_take_it_from_the_run_that_reuses_it_meanwhile(
    database: Database, project: int, tmp_path: Path
) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"the same")
    earlier, later = [await running(database, project) for _ in range(2)]
    blob = await store_blob(database, earlier, path)
    await end(database, earlier)
    sha256 = await database.fetchval("SELECT sha256 FROM headrace.blob")
    async with database.transaction() as connection:
        assert await connection.fetchval(QUERIES["create_blob"], uuid4(), later, 8, 1, sha256) == blob
        sweeping = asyncio.create_task(drop_orphan_blobs(database, older_than=0))
        while not await database.fetchval(WAITS):
            await asyncio.sleep(0.01)
    assert await sweeping == 0
    await record(database, later, blob)
    assert await content(database, blob) == b"the same"


async def test_a_blob_stays_for_a_run_that_took_it_before_another_one_that_has_ended(
    database: Database, project: int, tmp_path: Path
) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"the same")
    first, second, third = [await running(database, project) for _ in range(3)]
    blobs = {await store_blob(database, run, path) for run in (first, second, third)}
    for run in (third, second):
        await end(database, run)
        assert await drop_orphan_blobs(database, older_than=0) == 0
    (blob,) = blobs
    await record(database, first, blob)
    assert await content(database, blob) == b"the same"
    await database.execute("DELETE FROM headrace.output")
    await end(database, first)
    assert await drop_orphan_blobs(database, older_than=0) == 1


async def test_a_run_that_wants_a_blob_just_as_it_is_swept_writes_it_anew(
    database: Database, project: int, tmp_path: Path
) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"the same")
    earlier, later = [await running(database, project) for _ in range(2)]
    swept = await store_blob(database, earlier, path)
    await end(database, earlier)
    async with database.transaction() as connection:
        assert len(await connection.fetch(QUERIES["drop_orphan_blobs"], 0.0, 10)) == 1
        storing = asyncio.create_task(store_blob(database, later, path))
        while not await database.fetchval(WAITS):
            await asyncio.sleep(0.01)
    blob = await storing
    assert blob != swept
    await record(database, later, blob)
    assert await content(database, blob) == b"the same"


async def test_runs_that_store_the_same_while_others_end_and_all_is_swept_lose_nothing(
    database: Database, project: int, tmp_path: Path
) -> None:
    chance = random.Random(9)
    paths = [tmp_path / str(number) for number in range(CONTENTS)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 1000)
    over = asyncio.Event()

    async def sweep() -> int:
        swept = 0
        while not over.is_set():
            swept += await drop_orphan_blobs(database, older_than=0)
        return swept

    async def store(number: int) -> None:
        for _ in range(ROUNDS):
            run = await running(database, project)
            path = chance.choice(paths)
            blob = await store_blob(database, run, path)
            await asyncio.sleep(chance.uniform(0, 0.003))
            await record(database, run, blob)
            assert await content(database, blob) == path.read_bytes()
            await end(database, run)
            await database.execute("DELETE FROM headrace.output WHERE run_id = $1", run)

    sweeping = asyncio.create_task(sweep())
    async with asyncio.timeout(60):
        await asyncio.gather(*(store(number) for number in range(3)))
    over.set()
    assert await sweeping > 0
