"""The two worked examples of sensors, as blocks of a pipeline: found in sensors/, waiting, firing once for each change."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from headrace.engine.views import RunView
from headrace.service import Headrace, open_headrace
from headrace.store.database import Database

from tests.support.checkout import ROOT
from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import sensor, sensor_service
from tests.support.triggers import write_triggers
from tests.support.web import served


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that holds the two sensors as this repository does."""
    root = write_project(tmp_path / "project")
    shutil.copytree(ROOT / "sensors", root / "sensors", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def write_waiting(root: Path, sensor: str, variables: dict[str, str]) -> None:
    """A pipeline in which one block waits for a sensor that looks ten times a second."""
    folder = write_pipeline(
        root, "waiting", {sensor: (), "after": (sensor,)}, types={sensor: "sensor"}, options={"variables": variables},
        block_options={sensor: {"configuration": {"poll_interval": 0.1}}},
    )  # fmt: skip
    (folder / f"{sensor}.py").unlink()


@asynccontextmanager
async def opened(root: Path, database_url: str) -> AsyncIterator[Headrace]:
    async with open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}) as headrace:
        yield headrace


async def until_it_looked(headrace: Headrace, run: int) -> None:
    """Wait until the sensor has looked and seen nothing."""
    async with asyncio.timeout(20):
        async for view in headrace.changes(run):
            if "seen nothing yet" in (view.blocks[0].reason or ""):
                return
    raise AssertionError(f"the run ended: {view}")


async def ended(headrace: Headrace, run: int) -> RunView:
    async with asyncio.timeout(20):
        return await headrace.finished(run)


@pytest.mark.parametrize(("path", "name"), [("inbox/*.csv", "trips.csv"), ("inbox/ready", "ready")])
async def test_a_file_that_arrives_lets_the_pipeline_go_on(root: Path, database_url: str, path: str, name: str):
    write_waiting(root, "file_arrived", {"path": path})
    inbox = root / "inbox"
    inbox.mkdir()
    (inbox / name).touch()  # somebody has begun to write it
    async with opened(root, database_url) as headrace:
        run = await headrace.create_run("waiting")
        await until_it_looked(headrace, run)
        (inbox / name).write_text("a,b\n")
        view = await ended(headrace, run)
        assert {block.uuid: block.status for block in view.blocks} == {
            "file_arrived": "completed",
            "after": "completed",
        }
        lines = [line.text async for line in headrace.logs(run, "file_arrived")]
    assert lines[0] == f"0 files match {inbox / Path(path).name}"
    assert lines[-1] == f"1 files match {inbox / Path(path).name}"


async def test_a_page_that_changes_lets_the_pipeline_go_on_once_for_each_change(root: Path, database_url: str):
    page = {"news": b"one"}
    async with served(page) as address, opened(root, database_url) as headrace:
        write_waiting(root, "http_changed", {"url": f"{address}/news"})
        assert (await ended(headrace, await headrace.create_run("waiting"))).status == "completed"
        run = await headrace.create_run("waiting")
        await until_it_looked(headrace, run)
        page["news"] = b"two"
        assert (await ended(headrace, run)).status == "completed"


async def test_a_page_that_is_gone_fails_the_sensor_with_what_the_server_said(root: Path, database_url: str):
    async with served({}) as address, opened(root, database_url) as headrace:
        write_waiting(root, "http_changed", {"url": f"{address}/news"})
        view = await ended(headrace, await headrace.create_run("waiting"))
    assert view.status == "failed"
    assert "404" in view.blocks[0].error["message"]


async def test_an_address_that_is_not_on_the_web_is_refused(root: Path, database_url: str):
    write_waiting(root, "http_changed", {"url": "file:///etc/hostname"})
    async with opened(root, database_url) as headrace:
        view = await ended(headrace, await headrace.create_run("waiting"))
    assert view.blocks[0].error["message"] == "file:///etc/hostname is not an address on the web"


async def test_a_change_counts_as_seen_only_once_its_block_has_completed(root: Path, database_url: str):
    page = {"news": b"one"}
    async with served(page) as address, opened(root, database_url) as headrace:
        write_waiting(root, "http_changed", {"url": f"{address}/news"})
        assert (await ended(headrace, await headrace.create_run("waiting"))).status == "completed"
        # As if the service had ended between what the sensor saw and the end of its block.
        await headrace.database.execute("""
            INSERT INTO headrace.block_cursor
            SELECT project_id, pipeline, block, run_id + 1, true, '"another version"' FROM headrace.block_cursor
        """)
        run = await headrace.create_run("waiting")
        await until_it_looked(headrace, run)
        page["news"] = b"two"
        assert (await ended(headrace, run)).status == "completed"
        cursors = await headrace.database.fetch("SELECT run_id, cursor FROM headrace.block_cursor ORDER BY run_id")
    assert [row["run_id"] for row in cursors] == [run - 1, run]
    assert address in cursors[-1]["cursor"]


async def test_the_sensors_of_triggers_give_each_file_and_each_change_once(root: Path, database: Database):
    write_pipeline(root, "orders", {"load": ()})
    page = {"news": b"one"}
    inbox = root / "inbox"
    inbox.mkdir()
    async with served(page) as address:
        files = sensor("file_arrived", interval=0.1, configuration={"path": "inbox/*.csv"})
        news = sensor("http_changed", interval=0.1, configuration={"url": f"{address}/news"})
        write_triggers(root, "orders", [files, news])
        async with sensor_service(database, root) as service:
            (inbox / "a.csv").write_text("1")
            assert (await service.until_events("file_arrived", 1))[0]["name"] == "a.csv"
            (inbox / "b.csv").write_text("2")
            assert [file["name"] for file in await service.until_events("file_arrived", 2)] == ["a.csv", "b.csv"]
            await service.until_events("http_changed", 1)
            page["news"] = b"two"
            await service.until_events("http_changed", 2)
            looked = (await service.view("http_changed")).looked_at
            await service.until("http_changed", lambda view: view.looked_at > looked)
            assert len(await service.payloads("http_changed")) == 2
    runs = await database.fetchval("SELECT count(*) FROM headrace.run")
    assert runs == 4
