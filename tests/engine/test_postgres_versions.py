"""Every supported version of Postgres that is found here carries a whole project: from nothing to retention."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from headrace.domain.retention import ProjectRetention, Retention
from headrace.engine.clock import SystemClock
from headrace.engine.retention import Retainer
from headrace.service import open_headrace
from headrace.store.binaries import Binaries

from tests.chaos.checker import faults
from tests.support.postgres import found_binaries, server_environ, server_home
from tests.support.projects import write_pipeline, write_project

LOAD = """
import numpy as np
import pandas as pd


@data_loader
def body(*args, **kwargs):
    rows = np.random.default_rng(7)
    return pd.DataFrame({"n": np.arange(200_000), "x": rows.random(200_000)})
"""
STORE = """
import pandas as pd
from headrace.blocks.io.columns import UnstorableValue
from headrace.io import ConfigFileLoader, Postgres


@data_exporter
def body(frame, **kwargs):
    with Postgres.with_config(ConfigFileLoader("io_config.yaml", "dev")) as db:
        db.export(frame, "taxi", "numbers", index=False, if_exists="replace")
        db.execute("CREATE UNIQUE INDEX ON taxi.numbers (n)")
        again = {"unique_constraints": ["n"], "unique_conflict_method": "UPDATE"}
        db.export(frame.head(10), "taxi", "numbers", index=False, if_exists="append", **again)
        db.execute("CREATE TABLE taxi.small (n smallint)")
        try:
            db.export(pd.DataFrame({"n": [1, 70_000]}), "taxi", "small", index=False, if_exists="append")
        except UnstorableValue as error:
            assert (error.column, error.row) == ("n", 1)
        return int(db.load("SELECT count(*) AS n FROM taxi.numbers")["n"].iloc[0])
"""
PROFILE = """
dev:
  POSTGRES_DBNAME: "{{ env_var('POSTGRES_DBNAME') }}"
  POSTGRES_HOST: "{{ env_var('POSTGRES_HOST') }}"
  POSTGRES_PORT: "{{ env_var('POSTGRES_PORT') }}"
  POSTGRES_USER: "{{ env_var('POSTGRES_USER') }}"
  POSTGRES_PASSWORD: "{{ env_var('POSTGRES_PASSWORD') }}"
"""


def project_at(root: Path) -> Path:
    write_project(root)
    (root / "io_config.yaml").write_text(PROFILE)
    types = {"load": "data_loader", "store": "data_exporter"}
    write_pipeline(root, "taxi", {"load": (), "store": ("load",)}, {"load": LOAD, "store": STORE}, types=types)
    return root


@pytest.mark.parametrize("binaries", found_binaries(), ids=lambda found: f"postgres-{found.major}")
async def test_a_project_runs_on_every_version_from_an_empty_folder_to_the_removal_of_what_is_old(
    binaries: Binaries, tmp_path: Path
):
    with server_home() as home:
        environ = server_environ(home, str(binaries.folder))
        async with open_headrace(project_at(tmp_path / "project"), environ=environ) as headrace, asyncio.timeout(60):
            database = headrace.database
            assert database.address.version.startswith(binaries.version)
            view = await headrace.finished(await headrace.create_run("taxi"))
            assert view.status == "completed", view.error
            _, parts = await headrace.output_parts(view.id, "store")
            assert b"".join([part async for part in parts]) == b"200000"
            assert await database.fetchval("SELECT count(*) FROM headrace.blob") == 1
            assert await database.fetchval("SELECT count(*) FROM headrace.log_line_rest") == 0
            async with database.connection() as connection:
                assert await faults(connection) == []

            everything = ProjectRetention(project=Retention(runs=0, logs=0))
            await Retainer(database, headrace.project_id, lambda: everything, SystemClock()).sweep()
            assert await database.fetchval("SELECT count(*) FROM headrace.run") == 0
