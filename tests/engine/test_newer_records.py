"""What a newer version wrote, which shares the database, is left as it is and named; nothing else suffers for it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from headrace.domain.newer import NewerRecord
from headrace.engine import reading
from headrace.service import Headrace, open_headrace
from headrace.store.backfills import interval_standings

from tests.support.projects import write_pipeline, write_project

MORE_STATES = """
ALTER TABLE headrace.run DROP CONSTRAINT run_status_check, DROP CONSTRAINT run_check;
ALTER TABLE headrace.block_run DROP CONSTRAINT block_run_status_check;
ALTER TABLE headrace.output DROP CONSTRAINT output_codec_check;
"""
"""As a newer version would allow more of them."""

DEFINITION = """
UPDATE headrace.pipeline_version AS v SET definition = jsonb_set(definition::jsonb, '{path}', '"{word}"')
FROM headrace.run AS r WHERE r.id = $1 AND v.hash = r.version
"""
DOZING = "UPDATE headrace.block_run SET status = 'dozing' WHERE run_id = $1 AND block = 'a'"
PARKED = "UPDATE headrace.run SET status = 'parked' WHERE id = $1"
UNKNOWN = {
    "the state of block a": DOZING,
    "the isolation of pipeline p": DEFINITION.replace("path", "isolation").replace("{word}", "pod"),
    "the type of block a": DEFINITION.replace("path", "blocks,0,type").replace("{word}", "agent"),
    "the end that run": "UPDATE headrace.run SET status = 'running', ending = 'merged' WHERE id = $1",
}
"""What is unknown, as it is named, and the statement that makes it so."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "project")
    write_pipeline(root, "p", {"a": (), "b": ("a",)})
    write_pipeline(root, "good", {"one": ()})
    return root


@asynccontextmanager
async def opened(root: Path, database_url: str, *, drive: bool = True) -> AsyncIterator[Headrace]:
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(root, environ=environ, drive=drive, claim_all=True) as headrace:
        yield headrace


async def made_by_a_newer_version(root: Path, database_url: str, *statements: str) -> int:
    """A run on its way that nobody drives, changed by statements in which it is $1."""
    async with opened(root, database_url, drive=False) as headrace:
        run = await headrace.create_run("p")
        database = headrace.database
        async with database.connection() as connection:
            await connection.execute(MORE_STATES)
        step = "INSERT INTO headrace.run_step VALUES ($1, 0, 1) ON CONFLICT (run_id) DO UPDATE SET step = 1"
        for statement in (step, *statements):
            await database.execute(statement, run)
    return run


async def record_of(headrace: Headrace, run: int) -> list[object]:
    """All that is recorded of a run but who holds it."""
    rows = await headrace.database.fetch(
        "SELECT to_jsonb(r) - 'fence' - 'owner' AS run, (SELECT jsonb_agg(to_jsonb(b) ORDER BY block)"
        " FROM headrace.block_run AS b WHERE b.run_id = r.id) AS blocks FROM headrace.run AS r WHERE r.id = $1",
        run,
    )
    return [dict(row) for row in rows]


@pytest.mark.parametrize("what", UNKNOWN)
async def test_a_run_with_an_unknown_word_is_left_alone_and_named_and_others_go_on(
    root: Path, database_url: str, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    run = await made_by_a_newer_version(root, database_url, UNKNOWN[what])
    async with opened(root, database_url) as headrace:
        before = await record_of(headrace, run)
        async with asyncio.timeout(30):
            while f"run {run} is left alone: {what}" not in caplog.text:
                await asyncio.sleep(0.01)
            for _ in range(3):
                assert (await headrace.finished(await headrace.create_run("good"))).status == "completed"
            while await headrace.is_driven(run):
                await asyncio.sleep(0.01)
        assert caplog.text.count(f"run {run} is left alone") == 1, "it is not taken again and again"
        assert await record_of(headrace, run) == before


async def test_an_unknown_state_of_a_run_is_shown_and_nobody_drives_it(root: Path, database_url: str) -> None:
    run = await made_by_a_newer_version(root, database_url, PARKED)
    async with opened(root, database_url) as headrace:
        assert (await headrace.finished(await headrace.create_run("good"))).status == "completed"
        view = await headrace.show(run)
        assert view.status == "parked"
        assert "a newer Headrace gave it this state" in (view.reason or "")
        (listed,) = await headrace.runs(status="parked")
        assert (listed.id, listed.reason) == (run, view.reason)
        assert await headrace.database.fetchval("SELECT fence FROM headrace.run WHERE id = $1", run) == 0


async def test_whoever_waits_for_a_run_hears_of_an_end_that_is_not_known(root: Path, database_url: str) -> None:
    how = "UPDATE headrace.run SET status = 'superseded', finished_at = now() WHERE id = $1"
    run = await made_by_a_newer_version(root, database_url, how)
    async with opened(root, database_url, drive=False) as headrace, asyncio.timeout(10):
        assert (await headrace.finished(run)).status == "superseded"
        assert [view.status async for view in headrace.changes(run)] == ["superseded"]
        assert [line async for line in headrace.logs(run, follow=True)] == []


async def test_an_output_in_an_unknown_form_leaves_its_run_alone(
    root: Path, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = await made_by_a_newer_version(
        root,
        database_url,
        "UPDATE headrace.block_run SET status = 'completed', attempt = 1, finished_at = now()"
        " WHERE run_id = $1 AND block = 'a'",
        "INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, content)"
        " VALUES ($1, 'a', 0, 1, 'vortex', 1, 'x')",
    )
    async with opened(root, database_url) as headrace, asyncio.timeout(30):
        while f"run {run} is left alone: the codec of an output of block a" not in caplog.text:
            await asyncio.sleep(0.01)
        assert await headrace.database.fetchval("SELECT finished_at FROM headrace.run WHERE id = $1", run) is None


async def test_the_command_line_lists_and_shows_runs_in_unknown_states(root: Path, database_url: str) -> None:
    run = await made_by_a_newer_version(root, database_url, DOZING, PARKED)
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url, "COLUMNS": "160"}
    for command, told in ((["runs"], "? parked"), (["show", str(run)], "? a")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace", *command, "-p", str(root), env=environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        assert told in printed.decode()


async def test_what_cannot_be_shown_without_being_understood_is_told_by_name(root: Path, database_url: str) -> None:
    run = await made_by_a_newer_version(root, database_url, UNKNOWN["the isolation of pipeline p"])
    async with opened(root, database_url, drive=False) as headrace:
        reading._pinned.clear()
        with pytest.raises(NewerRecord, match="isolation of pipeline p is 'pod', which this version"):
            await headrace.show(run)


async def test_a_backfill_leaves_out_intervals_whose_run_is_in_an_unknown_state(root: Path, database_url: str) -> None:
    run = await made_by_a_newer_version(root, database_url, PARKED)
    async with opened(root, database_url, drive=False) as headrace:
        database = headrace.database
        moment = await database.fetchval("SELECT execution_date FROM headrace.run WHERE id = $1", run)
        async with database.connection() as connection:
            found = await interval_standings(connection, headrace.project_id, "p", moment, moment)
    assert [standing.status for standing in found.values()] == ["parked"]
