"""A service on a database that a newer version migrates: where it only adds, the service goes on; what it cannot work
with ends it with the reason, and no run is lost or failed for it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.support.projects import write_pipeline, write_project
from tests.support.serving import ServedProcess, begin, started
from tests.support.triggers import write_triggers

ADDED = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT c.relname FROM pg_class AS c
                WHERE c.relnamespace = 'headrace'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    LOOP
        EXECUTE format('ALTER TABLE headrace.%I ADD COLUMN from_the_future text DEFAULT $x$x$x$', name);
    END LOOP;
END $$;
INSERT INTO headrace.migration (number, name, sha256) VALUES (9001, '9001_added.sql', '');
"""
"""A column more in every table."""
NEEDED = "INSERT INTO headrace.migration (number, name, sha256, needs) VALUES (9002, '9002_contracted.sql', '', 9001)"
RENAMED = """
ALTER TABLE headrace.block_run RENAME COLUMN failures TO faults;
INSERT INTO headrace.migration (number, name, sha256) VALUES (9003, '9003_renamed.sql', '');
"""
BLOCK = """
import pathlib, time
@custom
def wait(*args, **kwargs):
    while kwargs.get("flag") and not pathlib.Path(kwargs["flag"]).exists():
        time.sleep(0.01)
    return "x" * 100_000
"""
LOOKED_AT = ("runs", "events", "triggers", "backfills", "sensors", "tokens", "projects")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "shop")
    write_pipeline(root, "orders", {"wait": [], "then": ["wait"]}, {"wait": BLOCK})
    hook = {"path": "paid", "preset": "none"}
    write_triggers(root, "orders", [{"name": "paid", "schedule_type": "webhook", "webhook": hook}])
    return root


async def fetchrow(database_url: str, sql: str, *arguments: object) -> asyncpg.Record | None:
    connection = await asyncpg.connect(database_url)
    try:
        if arguments:
            return await connection.fetchrow(sql, *arguments)
        await connection.execute(sql)
        return None
    finally:
        await connection.close()


async def under_way(service: ServedProcess, flag: Path) -> int:
    """A run whose first block waits for a file."""
    run = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"flag": str(flag)}}))["id"]
    await service.reached(run, "running", block="wait")
    return int(run)


async def use(service: ServedProcess) -> None:
    """Make runs in every way, and look at everything."""
    run = (await service.post("/api/v1/runs", {"pipeline": "orders"}))["id"]
    await service.reached(run, "completed")
    await service.reached((await service.post(f"/api/v1/runs/{run}/retry"))["id"], "completed")
    await service.reached(
        (await service.post("/api/v1/runs", {"pipeline": "orders", "block": "then"}))["id"], "completed"
    )
    await service.post("/hooks/paid", {"n": 1})
    for path in (*LOOKED_AT, f"runs/{run}/logs", f"runs/{run}/why"):
        assert await service.status(f"/api/v1/{path}") == 200, path


async def test_fault_44_a_service_goes_on_while_a_newer_version_adds_to_every_table(
    shop: Path, database_url: str, tmp_path: Path
) -> None:
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        await use(service)
        run = await under_way(service, tmp_path / "flag")
        await fetchrow(database_url, ADDED)
        (tmp_path / "flag").touch()
        view = await service.reached(run, "completed", "failed")
        assert (view["status"], view["blocks"][0]["attempt"]) == ("completed", 1)
        await use(service)
        async with asyncio.timeout(20):
            while "a newer Headrace applied 9001_added.sql" not in service.log.read_text():
                await asyncio.sleep(0.05)
        assert "Traceback" not in service.log.read_text()
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        await use(service)


async def test_fault_44_a_service_ends_with_the_reason_once_a_newer_version_needs_newer_services(
    shop: Path, database_url: str, tmp_path: Path
) -> None:
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        run = await under_way(service, tmp_path / "flag")
        await fetchrow(database_url, NEEDED)
        async with asyncio.timeout(20):
            while await service.status("/readyz") == 200:
                await asyncio.sleep(0.02)
        (tmp_path / "flag").touch()
        assert await service.ended() == 3
        told = service.log.read_text()
        assert "error[schema-too-new]: A newer Headrace applied 9002_contracted.sql to this database" in told
        assert "Upgrade this Headrace" in told
        assert "Traceback" not in told
    row = await fetchrow(database_url, "SELECT status, owner FROM headrace.run WHERE id = $1", run)
    assert tuple(row) == ("running", None), "its first block came to its end, and the rest is the newer version's"


async def test_fault_44_a_statement_that_the_newer_tables_refuse_ends_the_service_and_fails_no_run(
    shop: Path, database_url: str, tmp_path: Path
) -> None:
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        run = await under_way(service, tmp_path / "flag")
        await fetchrow(database_url, RENAMED)
        (tmp_path / "flag").touch()
        assert await service.ended() == 3
        told = service.log.read_text()
        assert "error[schema-too-new]: A newer Headrace applied 9003_renamed.sql to this database" in told
        assert 'column "failures"' in told
    await fetchrow(database_url, "ALTER TABLE headrace.block_run RENAME COLUMN faults TO failures")
    row = await fetchrow(database_url, "SELECT status, owner FROM headrace.run WHERE id = $1", run)
    assert tuple(row) == ("running", None)
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        await service.reached(run, "completed")


async def test_fault_44_neither_a_service_nor_a_command_starts_on_a_database_that_needs_newer_ones(
    shop: Path, database_url: str
) -> None:
    await fetchrow(database_url, NEEDED)
    environ = {"HEADRACE_DATABASE_URL": database_url}
    process = await begin(str(shop), environ=environ, log=shop / "log")
    assert await asyncio.wait_for(process.wait(), 30) == 3
    assert "error[schema-too-new]" in (shop / "log").read_text()
    for command in (["runs", "-p", str(shop)], ["db", "migrate", "-p", str(shop)]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace", *command, env={**os.environ, **environ},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, told = await process.communicate()
        assert process.returncode == 3
        assert "9002_contracted.sql" in told.decode()
