"""Disks without room: under Postgres, where writes wait and go on, and under a service, where a block fails and says so."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from headrace.service import open_headrace

from tests.chaos.checker import faults
from tests.support.postgres import server_environ, server_home
from tests.support.projects import write_pipeline, write_project

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

LARGE = "import os\n@custom\ndef body(*args):\n    return {'blob': os.urandom(40_000_000)}\n"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of so many megabytes at `folder`; skips the test where nobody may make one."""
    mount = shutil.which("mount")
    size = f"size={megabytes}m,mode=755"
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", size, "none", folder], capture_output=True).returncode
    ):
        pytest.skip("only root may mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_fault_24_what_a_full_disk_of_postgres_refuses_waits_and_is_written_when_there_is_room(tmp_path, caplog):
    project = write_project(tmp_path / "project")
    sources = {"a": LARGE, "b": "@custom\ndef body(given):\n    return 1\n"}
    write_pipeline(project, "large", {"a": (), "b": ("a",)}, sources)
    with server_home() as home:
        disk = home / "postgres"
        disk.mkdir()
        with small_disk(disk, 160):
            (tmp_path / "work").mkdir()
            (disk / "work").symlink_to(tmp_path / "work")  # blocks write their files where there is room
            await assert_writes_wait_for_room(project, server_environ(home), disk, caplog)


async def assert_writes_wait_for_room(project, environ, disk, caplog):
    filler = disk / "filler"
    async with open_headrace(project, environ=environ) as headrace:
        filler.write_bytes(b"\0" * (shutil.disk_usage(disk).free - 12_000_000))
        run = await headrace.create_run("large")
        async with asyncio.timeout(60):
            while "waits for the database" not in caplog.text:
                await asyncio.sleep(0.05)
        filler.unlink()
        async with asyncio.timeout(90):
            view = await headrace.finished(run)
        assert (view.status, view.blocks[0].attempt) == ("completed", 1), view.reason
        async with headrace.database.connection() as connection:
            assert await faults(connection) == []


async def test_fault_25_a_full_disk_of_the_service_fails_the_block_with_the_reason_and_the_service_goes_on(
    tmp_path, database_url
):
    project = write_project(tmp_path / "project")
    write_pipeline(project, "large", {"a": ()}, {"a": LARGE})
    write_pipeline(project, "small", {"a": ()})
    home = tmp_path / "home"
    home.mkdir()
    with small_disk(home, 16):
        environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url, "HEADRACE_HOME": str(home)}
        async with open_headrace(project, environ=environ) as headrace:
            async with asyncio.timeout(60):
                view = await headrace.finished(await headrace.create_run("large"))
                assert view.status == "failed"
                assert "No space left" in view.blocks[0].error["message"]
                assert (await headrace.finished(await headrace.create_run("small"))).status == "completed"


async def test_fault_25_an_input_that_finds_no_room_fails_the_block_that_needs_it(tmp_path, database_url):
    """After a takeover outputs are fetched from the database: here onto a disk that is too small for them."""
    project = write_project(tmp_path / "project")
    write_pipeline(
        project, "large", {"a": (), "b": ("a",)},
        {"a": LARGE, "b": "@custom\ndef body(given):\n    assert given is None\n"},
    )  # fmt: skip
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(project, environ=environ) as headrace:
        failed = await headrace.finished(await headrace.create_run("large"))
        assert [block.status for block in failed.blocks] == ["completed", "failed"]
    home = tmp_path / "home"
    home.mkdir()
    with small_disk(home, 16):
        async with open_headrace(project, environ={**environ, "HEADRACE_HOME": str(home)}) as headrace:
            async with asyncio.timeout(60):
                view = await headrace.finished(await headrace.retry(failed.id))
            assert view.status == "failed"
            assert "No space left" in view.blocks[1].error["message"]
            assert view.blocks[1].error["type"] == "OutputFileFault"
