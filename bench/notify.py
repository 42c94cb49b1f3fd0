"""How late runs start when no notification comes."""

from __future__ import annotations

import asyncio
import random

from headrace.engine.engine import EngineSettings
from headrace.service import Headrace

from bench.intake import accepting, driving_all
from bench.table import Figure

STARTS = 60
"""In each round."""
MEAN_GAP = 0.05
LATE = 0.5
LOOK_SECONDS = 0.1

DELAY = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM b.started_at - r.created_at))::float8
FROM headrace.run AS r JOIN headrace.block_run AS b ON b.run_id = r.id
WHERE r.id = ANY ($1::bigint[]) HAVING bool_and(r.finished_at IS NOT NULL)
"""


async def notify(headrace: Headrace, rounds: int) -> list[Figure]:
    """Runs made at random instants of which nobody tells the engine: how long the latest one in a hundred waits."""
    chance = random.Random(1)
    runs: list[int] = []
    with driving_all(headrace):
        async with accepting(headrace, lambda made: None) as acceptor:
            for _ in range(STARTS * rounds):
                runs += (await acceptor.start(headrace.project_id, "single", {})).runs
                await asyncio.sleep(chance.uniform(0.0, 2 * MEAN_GAP))
        delay = await headrace.database.fetchval(DELAY, runs)
        while delay is None:
            await asyncio.sleep(LOOK_SECONDS)
            delay = await headrace.database.fetchval(DELAY, runs)
    poll = EngineSettings().poll
    return [Figure("start unannounced, p99", delay, "s", poll + LATE, f"the database is asked every {poll:g} s")]
