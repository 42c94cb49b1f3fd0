"""A project as a student of the course has it, made by Mage and unchanged, runs: folders, imports, settings, SQL."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from headrace.engine.views import RunView
from headrace.project.checking import check_project
from headrace.samples import FILE, generate_trips
from headrace.service import Headrace, open_headrace

from tests.support.checkout import ROOT
from tests.support.held import held
from tests.support.outputs import frame_of
from tests.support.postgres import Server
from tests.support.profiles import settings_of
from tests.support.web import served

COURSE = ROOT / "tests" / "fixtures" / "magic-zoomcamp"
ADDRESS = "https://github.com/DataTalksClub/nyc-tlc-data/releases/download/yellow"
"""Where the course's file is. It is served from here instead, so that the test needs no network."""
MAY_BE_UNSET = ("MAGE_SLACK_WEBHOOK_URL", "MAGE_TEAMS_WEBHOOK_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

pytestmark = pytest.mark.asyncio(loop_scope="module")


def copied(folder: Path, address: str) -> Path:
    root = folder / COURSE.name
    shutil.copytree(COURSE, root)
    loader = root / "data_loaders" / "load_api_data.py"
    text = loader.read_text()
    assert ADDRESS in text
    loader.write_text(text.replace(ADDRESS, address))
    return root


def reach_by_default(root: Path, settings: Mapping[str, str | int]) -> None:
    """A pipeline on the profile `default` as Mage made it, but for the server, which a student fills in."""
    file = root / "io_config.yaml"
    before, dev, after = file.read_text().partition("\ndev:\n")
    for name, value in settings.items():
        before = re.sub(rf"  {name}: \w+", f"  {name}: {value}", before)
    file.write_text(before + dev + after)
    folder = shutil.copytree(root / "pipelines" / "test_config", root / "pipelines" / "by_default")
    metadata = (folder / "metadata.yaml").read_text().replace("profile: dev", "profile: default")
    (folder / "metadata.yaml").write_text(metadata.replace("uuid: test_config", "uuid: by_default"))


def course_environ(database_url: str) -> dict[str, str]:
    hidden = {*MAY_BE_UNSET, *(name for name in os.environ if name.startswith("POSTGRES_"))}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "HEADRACE_DATABASE_URL": database_url}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Headrace, str]]:
    """The project opened, its .env naming a server of the student's; and that server's address."""
    async with postgres.fresh() as ours, postgres.fresh("template1") as theirs, served({FILE: generate_trips()}) as web:
        root = copied(tmp_path_factory.mktemp("course"), web)
        reach_by_default(root, settings_of(theirs))
        shutil.copy(root / "dev.env", root / ".env")
        with (root / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings_of(theirs).items())
        async with held(open_headrace(root, environ=course_environ(ours))) as headrace:
            yield headrace, theirs


async def run(headrace: Headrace, pipeline: str) -> RunView:
    view = await headrace.finished(await headrace.create_run(pipeline))
    assert view.status == "completed", view.error and view.error["message"]
    return view


async def test_the_project_has_nothing_to_mend(course: tuple[Headrace, str]):
    headrace, _ = course
    assert check_project(headrace.project.root, headrace.project.environ) == []


async def test_the_connection_is_tried_with_a_select(course: tuple[Headrace, str]):
    headrace, _ = course
    view = await run(headrace, "test_config")
    assert (await frame_of(headrace, view, "test_postgres")).to_numpy().tolist() == [[1]]


async def test_mages_own_default_profile_needs_no_variables_of_stores_that_are_not_used(course: tuple[Headrace, str]):
    headrace, _ = course
    view = await run(headrace, "by_default")
    assert (await frame_of(headrace, view, "test_postgres")).to_numpy().tolist() == [[1]]


async def test_trips_go_from_the_api_to_the_student_s_server_and_ten_come_back(course: tuple[Headrace, str]):
    headrace, theirs = course
    view = await run(headrace, "api_to_postgres")
    rows = {block.uuid: block.rows for block in view.blocks}
    assert rows["load_api_data"] > rows["transform_taxi_data"] > rows["load_taxi_data"] == 10
    lines = [line.text async for line in headrace.logs(view.id, "transform_taxi_data")]
    counted = next(line for line in lines if line.startswith("Num rows with zero passengers: "))
    loaded = await frame_of(headrace, view, "load_api_data")
    assert int(counted.rpartition(" ")[2]) == loaded["passenger_count"].eq(0).sum() > 0
    connection = await asyncpg.connect(theirs)
    try:
        assert await connection.fetchval("SELECT count(*) FROM ny_taxi.yellow_cab_data") == rows["transform_taxi_data"]
        first = await connection.fetch("SELECT * FROM ny_taxi.yellow_cab_data LIMIT 10")
    finally:
        await connection.close()
    frame = await frame_of(headrace, view, "load_taxi_data")
    assert list(frame.columns) == list(first[0].keys())
    assert frame["total_amount"].tolist() == [row["total_amount"] for row in first]


async def test_both_assertions_of_the_course_hold_on_the_stored_outputs(course: tuple[Headrace, str]):
    headrace, _ = course
    await run(headrace, "api_to_postgres")
    reports = {report.block: (report.passed, report.failed) for report in await headrace.test("api_to_postgres")}
    assert reports["load_api_data"] == (1, 0)
    assert reports["transform_taxi_data"] == (1, 0)
