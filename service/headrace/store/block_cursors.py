"""Where sensors within pipelines left off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.store.database import Database
from headrace.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class SensorBlock:
    """A block of type sensor in one run."""

    project_id: int
    pipeline: str
    block: str
    run: int


async def block_cursor(database: Database, sensor: SensorBlock) -> Any:
    """Where the sensor goes on; None at its beginning."""
    return await database.fetchval(
        QUERIES["block_cursor"], sensor.project_id, sensor.pipeline, sensor.block, sensor.run
    )


async def keep_block_cursor(database: Database, sensor: SensorBlock, cursor: Any, *, has_seen: bool) -> None:
    """Keep where the sensor left off. With `has_seen` it counts once its block has completed in this run."""
    await database.execute(
        QUERIES["keep_block_cursor"], sensor.project_id, sensor.pipeline, sensor.block, sensor.run, has_seen, cursor
    )
