"""`headrace start` looks for the sensors of all its projects, and their runs go through."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from headrace.store.database import Database

from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import sensor, write_sensor
from tests.support.serving import START_SECONDS, started
from tests.support.triggers import write_triggers

TELLING = """
from headrace import Event, sensor
from headrace.blocks.run_status import completed_runs

@sensor(interval=0.2)
def telling(cursor):
    completed_runs("orders", None)
    return Event({"shop": SHOP, "n": 1}, key="once", cursor=1)
"""


async def test_sensors_of_two_projects_make_runs_that_complete(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    roots = [write_project(tmp_path / name) for name in ("north", "south")]
    for root in roots:
        write_pipeline(root, "orders", {"load": []})
        write_sensor(root, "telling", TELLING.replace("SHOP", repr(root.name)))
        write_triggers(root, "orders", [sensor("telling")])
    async with started(*roots, database_url=database_url) as service:
        await service.ready()
        async with asyncio.timeout(START_SECONDS):
            while await database.fetchval("SELECT count(*) FROM headrace.run WHERE status = 'completed'") < 2:
                await asyncio.sleep(0.05)
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    shops = await database.fetch("SELECT variables #>> '{event,shop}' AS shop FROM headrace.run ORDER BY 1")
    assert [row["shop"] for row in shops] == ["north", "south"]
    assert await database.fetchval("SELECT count(*) FROM headrace.sensor WHERE owner IS NOT NULL") == 0
