"""The bundled job end to end: trips over HTTP, filtered, tested, into a table, read back by raw SQL."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pandas as pd
import pytest
import pytest_asyncio
from headrace.engine.views import RunView
from headrace.samples import generate_trips
from headrace.service import Headrace, open_headrace
from headrace.store.project_role import project_database

from tests.support.checkout import copy_bundled
from tests.support.held import held
from tests.support.outputs import frame_of
from tests.support.postgres import Server, server_environ, server_home
from tests.support.real_data import real_file
from tests.support.web import served

TABLE = "ny_taxi.yellow_cab_data"
FILE = "yellow_tripdata_2021-01.csv.gz"
TYPES = {
    "vendorid": "bigint",
    "tpep_pickup_datetime": "timestamp without time zone",
    "tpep_dropoff_datetime": "timestamp without time zone",
    "passenger_count": "bigint",
    "trip_distance": "double precision",
    "ratecodeid": "bigint",
    "store_and_fwd_flag": "text",
    "pulocationid": "bigint",
    "dolocationid": "bigint",
    "payment_type": "bigint",
    "fare_amount": "double precision",
    "extra": "double precision",
    "mta_tax": "double precision",
    "tip_amount": "double precision",
    "tolls_amount": "double precision",
    "improvement_surcharge": "double precision",
    "total_amount": "double precision",
    "congestion_surcharge": "double precision",
}
"""The table's columns in their order: what the course's dtypes become in Postgres."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Trips:
    """What a file holds, counted without pandas."""

    rows: list[dict[str, str]]

    @property
    def taken(self) -> list[dict[str, str]]:
        return [row for row in self.rows if row["passenger_count"] not in ("", "0")]

    @property
    def empty(self) -> int:
        return sum(row["passenger_count"] == "0" for row in self.rows)


def trips_in(packed: bytes) -> Trips:
    with gzip.open(io.BytesIO(packed), "rt", newline="") as lines:
        return Trips(list(csv.DictReader(lines)))


@dataclass(frozen=True)
class Job:
    """The bundled project, opened on an embedded server of its own, and its first run."""

    headrace: Headrace
    view: RunView
    trips: Trips

    async def variables(self) -> dict[str, str]:
        """The POSTGRES_ variables that blocks get."""
        return await project_database(self.headrace.database, self.headrace.project.root)

    async def fetch(self, sql: str) -> list[Any]:
        """Rows of the project's own database, asked as its blocks would."""
        async with connected(await self.variables()) as connection:
            return await connection.fetch(sql)


@asynccontextmanager
async def connected(variables: dict[str, str], database: str | None = None) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        host=variables["POSTGRES_HOST"],
        port=int(variables["POSTGRES_PORT"]),
        database=database or variables["POSTGRES_DBNAME"],
        user=variables["POSTGRES_USER"],
        password=variables["POSTGRES_PASSWORD"],
        timeout=10,
    )
    try:
        yield connection
    finally:
        await connection.close()


def bare_environ(home: Path) -> dict[str, str]:
    """An environment without any setting of Postgres, as on a fresh machine."""
    return {name: value for name, value in server_environ(home).items() if not name.startswith(("POSTGRES_", "PG"))}


async def run(headrace: Headrace, pipeline: str = "api_to_postgres", **options: Any) -> RunView:
    return await headrace.finished(await headrace.create_run(pipeline, **options))


async def printed(headrace: Headrace, view: RunView, block: str) -> list[str]:
    return [line.text async for line in headrace.logs(view.id, block)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def job() -> AsyncIterator[Job]:
    with server_home() as home:
        root = copy_bundled(home / "project")
        async with held(open_headrace(root, environ=bare_environ(home))) as headrace:
            view = await run(headrace)
            assert view.status == "completed", view.error
            yield Job(headrace, view, trips_in(generate_trips()))


async def test_every_block_completes_and_tells_its_rows(job: Job):
    assert {block.uuid: (block.status, block.rows) for block in job.view.blocks} == {
        "load_api_data": ("completed", len(job.trips.rows)),
        "transform_taxi_data": ("completed", len(job.trips.taken)),
        "taxi_data_to_postgres": ("completed", None),
        "load_taxi_data": ("completed", 10),
    }


async def test_the_count_of_trips_without_passengers_is_printed(job: Job):
    assert job.trips.empty > 0
    lines = await printed(job.headrace, job.view, "transform_taxi_data")
    assert f"Num rows with zero passengers: {job.trips.empty}" in lines


async def test_the_tests_of_the_blocks_pass_on_their_stored_outputs(job: Job):
    reports = {report.block: report for report in await job.headrace.test("api_to_postgres")}
    assert {name: (report.passed, report.failed) for name, report in reports.items() if report.passed} == {
        "load_api_data": (1, 0),
        "transform_taxi_data": (1, 0),
    }
    assert all(report.failed == 0 for report in reports.values())


async def test_the_table_holds_each_trip_that_had_passengers_value_for_value(job: Job):
    rows = await job.fetch(f"SELECT * FROM {TABLE}")
    assert len(rows) == len(job.trips.taken)
    assert [tuple(map(as_text, row.values())) for row in rows] == [
        tuple(as_text(as_value(name, text)) for name, text in row.items()) for row in job.trips.taken
    ]


def as_value(name: str, text: str) -> object:
    """What a cell of the file means, by the type of its column in the table."""
    if text == "":
        return None
    kind = TYPES[name.lower()]
    return {"bigint": int, "double precision": float}.get(kind, str)(text)


def as_text(value: object) -> str | None:
    return None if value is None else str(value)


async def test_the_columns_have_the_declared_types_in_their_order(job: Job):
    rows = await job.fetch(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'ny_taxi' AND table_name = 'yellow_cab_data' ORDER BY ordinal_position"
    )
    assert [tuple(row) for row in rows] == list(TYPES.items())


async def test_the_raw_sql_block_gives_the_first_ten_rows(job: Job):
    frame = await frame_of(job.headrace, job.view, "load_taxi_data")
    assert list(frame.columns) == list(TYPES)
    rows = await job.fetch(f"SELECT * FROM {TABLE} LIMIT 10")
    assert frame["total_amount"].tolist() == [row["total_amount"] for row in rows]
    assert frame["tpep_pickup_datetime"].tolist() == [pd.Timestamp(row["tpep_pickup_datetime"]) for row in rows]


async def test_running_again_replaces_the_table(job: Job):
    again = await run(job.headrace)
    assert again.status == "completed", again.error
    assert (await job.fetch(f"SELECT count(*) FROM {TABLE}"))[0][0] == len(job.trips.taken)


async def test_blocks_have_a_database_of_their_own_and_cannot_see_that_of_headrace(job: Job):
    variables = await job.variables()
    async with job.headrace.database.pool.acquire() as ours:
        own = await ours.fetchval("SELECT current_database()")
        assert await ours.fetchval("SELECT count(*) FROM headrace.run") > 0
    assert own != variables["POSTGRES_DBNAME"]
    assert await job.fetch("SELECT 1 FROM pg_namespace WHERE nspname = 'headrace'") == []
    assert await job.fetch("SELECT 1 FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreaterole)") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with connected(variables, own):
            pass


async def test_a_trip_without_passengers_in_the_output_fails_the_block_and_leaves_the_table(job: Job):
    block = job.headrace.project.root / "pipelines" / "api_to_postgres" / "transform_taxi_data.py"
    right = block.read_text()
    wrong = right.replace("return data[indices]", "return data")
    assert wrong != right
    block.write_text(wrong)
    try:
        view = await run(job.headrace)
    finally:
        block.write_text(right)
    assert view.status == "failed"
    statuses = {found.uuid: found.status for found in view.blocks}
    assert statuses["transform_taxi_data"] == "failed"
    assert statuses["taxi_data_to_postgres"] == "upstream_failed"
    failed = next(found for found in view.blocks if found.uuid == "transform_taxi_data")
    assert "There are rows with zero passengers" in failed.error["message"]
    assert (await job.fetch(f"SELECT count(*) FROM {TABLE}"))[0][0] == len(job.trips.taken)


async def test_a_file_that_is_not_there_fails_the_run_with_its_address(job: Job):
    async with served({}) as address:
        view = await run(job.headrace, variables={"url": f"{address}/nowhere.csv.gz"})
    assert view.status == "failed"
    assert "404" in view.blocks[0].error["message"]


@pytest.mark.may_skip
async def test_the_published_file_comes_in_whole_and_without_its_empty_trips(job: Job):
    packed = real_file(FILE).read_bytes()
    async with served({FILE: packed}) as address:
        view = await run(job.headrace, variables={"url": f"{address}/{FILE}"})
    assert view.status == "completed", view.error
    rows = {block.uuid: block.rows for block in view.blocks}
    assert (rows["load_api_data"], rows["transform_taxi_data"], rows["load_taxi_data"]) == (22_792, 22_303, 10)
    assert "Num rows with zero passengers: 489" in await printed(job.headrace, view, "transform_taxi_data")
    total, fares = (await job.fetch(f"SELECT count(*), sum(total_amount::numeric) FROM {TABLE}"))[0]
    assert total == 22_303
    expected = sum(float(row["total_amount"]) for row in trips_in(packed).taken)
    assert float(fares) == pytest.approx(expected, abs=0.005)


async def test_the_test_of_the_connection_gives_one(job: Job):
    view = await run(job.headrace, "test_config")
    assert view.status == "completed", view.error
    assert (await frame_of(job.headrace, view, "test_postgres")).to_numpy().tolist() == [[1]]


async def test_with_a_dotenv_file_the_rows_go_to_the_user_s_server(postgres: Server, tmp_path: Path):
    """Headrace keeps its own tables in its embedded server; the `dev` profile reaches another one."""
    async with postgres.fresh("template1") as dsn:
        theirs = await magic_role(postgres, dsn)
        with server_home() as home:
            root = copy_bundled(home / "project")
            template = (root / "dev.env").read_text()
            (root / ".env").write_text(filled(template, theirs))
            async with open_headrace(root, environ=bare_environ(home)) as headrace:
                for pipeline in ("api_to_postgres", "test_config"):
                    view = await run(headrace, pipeline)
                    assert view.status == "completed", view.error["message"]
                async with headrace.database.pool.acquire() as ours:
                    databases = {row[0] for row in await ours.fetch("SELECT datname FROM pg_database")}
        async with connected(theirs) as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {TABLE}") == len(trips_in(generate_trips()).taken)
            owner = await connection.fetchval(
                "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'ny_taxi'"
            )
    assert owner == theirs["POSTGRES_USER"]
    assert "project_data" not in databases, "no database was made for a project that brings its own"


async def magic_role(server: Server, dsn: str) -> dict[str, str]:
    """A user of that database who is no superuser, as POSTGRES_ variables."""
    connection = await asyncpg.connect(dsn)
    try:
        database = await connection.fetchval("SELECT current_database()")
        role = f"magic_{database}"
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'it''s a #secret'")
        await connection.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
    finally:
        await connection.close()
    return {
        "POSTGRES_HOST": server.attachment.host,
        "POSTGRES_PORT": str(server.attachment.port),
        "POSTGRES_DBNAME": database,
        "POSTGRES_SCHEMA": "public",
        "POSTGRES_USER": role,
        "POSTGRES_PASSWORD": "it's a #secret",
    }


def filled(template: str, values: dict[str, str]) -> str:
    """`dev.env` with other values, every key of which it must have."""
    values, lines = dict(values), []
    for line in template.splitlines():
        name = line.partition("=")[0]
        lines.append(f'{name}="{values.pop(name)}"' if name in values else line)
    assert not values, f"dev.env has no {', '.join(values)}"
    return "\n".join(lines) + "\n"
