"""A service at rest: what a thousand schedules and a hundred sensors cost, all processes and Postgres together."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import asyncpg
import yaml
from headrace.service import Headrace
from headrace.store.database import Database
from headrace.store.project_role import project_database

from bench.processes import below, cpu_seconds, pss, server_pids
from bench.projects import passing_folder
from bench.schedules import write_scheduled
from bench.table import Figure
from bench.webhooks import served, until_ready

POLLED = 98
"""Two more are generators that wait."""
LEAST_INTERVAL, MOST_INTERVAL = 30, 60
ROUND_SECONDS = 10.0
SETTLE_SECONDS = 60

OWN = """
from headrace import sensor

@sensor
def look(cursor, shelf, **kwargs):
    return [] if cursor else ([], shelf)
"""
WAITING = """
import asyncio
from headrace import Event, sensor

@sensor
async def waiting(**kwargs):
    await asyncio.Event().wait()
    yield Event()
"""
PROFILE = "default:\n" + "".join(
    f"  POSTGRES_{name}: {{{{ env_var('POSTGRES_{name}') }}}}\n"
    for name in ("DBNAME", "USER", "PASSWORD", "HOST", "PORT")
)

SEEN = """
SELECT count(*) FILTER (WHERE looked_at IS NOT NULL) AS sensors, max(error ->> 'message') AS error
FROM headrace.sensor JOIN headrace.project AS p ON p.id = project_id WHERE p.name = 'watched'
"""
SPREAD = """
UPDATE headrace.sensor
SET owner = NULL, fence = fence + 1,
    next_look_at = now() + random() * (settings ->> 'interval')::float8 * interval '1 second'
WHERE settings ->> 'interval' IS NOT NULL
"""
"""Has looks due at any time, as after hours; at its start a service looks for all at once."""
LOOKS = "SELECT count(*) FROM headrace.sensor WHERE looked_at > now() - $1::float8 * interval '1 second'"


def write_watched(root: Path) -> None:
    """A project with a thousand schedules and a hundred sensors of several kinds."""
    write_scheduled(root)
    (root / "metadata.yaml").write_text("project_type: standalone\nname: watched\n")
    (root / "io_config.yaml").write_text(PROFILE)
    for folder in ("inbox", "sensors", "pipelines/watching"):
        (root / folder).mkdir()
    sensors = [_polled(root, number) for number in range(POLLED)]
    (root / "sensors" / "waiting.py").write_text(WAITING)
    sensors.append({"name": "waiting"})
    sensors.append({"name": "told", "use": "postgres_notifications", "configuration": {"channel": "watched"}})
    triggers = [
        {"name": sensor["name"], "schedule_type": "sensor", "status": "active", "sensor": sensor} for sensor in sensors
    ]
    folder = root / "pipelines" / "watching"
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"blocks": []}))
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": triggers}))


def _polled(root: Path, number: int) -> dict[str, Any]:
    name = f"p{number}"
    sensor = {"name": name, "interval": LEAST_INTERVAL + number % (MOST_INTERVAL - LEAST_INTERVAL + 1)}
    match number % 5:
        case 0:
            return {**sensor, "use": "file_arrival", "configuration": {"path": f"inbox/{name}-*.csv"}}
        case 1:
            return {**sensor, "use": "postgres_rows", "configuration": {"table": "watched", "column": "id"}}
        case _:
            (root / "sensors" / f"{name}.py").write_text(OWN)
            return {**sensor, "configuration": {"shelf": number}}


async def watching(headrace: Headrace, rounds: int) -> list[Figure]:
    """A service of its own, as its users start it; Postgres is the bench's, whose own engine waits beside it."""
    with passing_folder() as root:
        write_watched(root)
        await _make_table(headrace.database, root)
        environ = {**os.environ, "HEADRACE_HOME": headrace.project.environ["HEADRACE_HOME"]}
        command = [sys.executable, "-m", "headrace", "start", str(root), "--port", "0", "--drain", "0"]
        async with served(command, environ) as service:
            await until_ready(service.url)
            await _settled(headrace.database)
            roots = [service.pid, *server_pids(headrace.database)]
            share = await _share(roots, ROUND_SECONDS * rounds)
            pids = below(roots)
            looks = await headrace.database.fetchval(LOOKS, ROUND_SECONDS) / ROUND_SECONDS
            memory = pss(pids) / 1e6
    told = f"{looks:.1f} looks a second, Postgres counted in"
    return [
        Figure("1,000 schedules and 100 sensors at rest", share * 100, "% of a core", 3.0, told),
        Figure("their memory", memory, "MB", 600.0, f"{len(pids)} processes, Postgres counted in"),
    ]


async def _make_table(database: Database, root: Path) -> None:
    """The table whose rows sensors wait for, in the project's own database."""
    place = await project_database(database, root)
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "database": "DBNAME"}
    connection = await asyncpg.connect(**{name: place[f"POSTGRES_{key}"] for name, key in names.items()})
    try:
        await connection.execute("CREATE TABLE watched (id bigint PRIMARY KEY)")
    finally:
        await connection.close()


async def _settled(database: Database) -> None:
    """Wait until each sensor was looked for and none failed; then spread their looks."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while (row := await database.fetchrow(SEEN))["sensors"] < POLLED:
            await asyncio.sleep(0.1)
    if row["error"] is not None:
        raise RuntimeError(f"a sensor of the bench fails: {row['error']}")
    await database.execute(SPREAD)
    await asyncio.sleep(5)


async def _share(roots: list[int], seconds: float) -> float:
    before = cpu_seconds(below(roots))
    await asyncio.sleep(seconds)
    return (cpu_seconds(below(roots)) - before) / seconds
