"""Many runs asked for at once: how many a second come to their end."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

from headrace.service import Headrace

from bench.intake import accepting, driving_all
from bench.measures import commit_seconds
from bench.table import Figure

RUNS = 1000
SHORT_RUNS = 300
LOOK_SECONDS = 0.02

TOOK = """
SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
       extract(epoch FROM max(finished_at) - min(created_at))::float8 AS seconds
FROM headrace.run WHERE id = ANY ($1::bigint[]) HAVING bool_and(finished_at IS NOT NULL)
"""


async def burst(headrace: Headrace, rounds: int) -> list[Figure]:
    """Runs of one block, asked for at once: a second, from the first one's commit to the last one's recorded end."""
    count = RUNS if rounds > 1 else SHORT_RUNS
    floor = await commit_seconds(headrace.database.address.dsn)
    engine = headrace.engine
    assert engine is not None
    with driving_all(headrace):
        async with accepting(headrace, lambda runs: engine.wake()) as acceptor:
            rates = []
            for _ in range(rounds):
                starts = [acceptor.start(headrace.project_id, "single", {}) for _ in range(count)]
                runs = [run for answer in await asyncio.gather(*starts) for run in answer.runs]
                rates.append(count / await _ended(headrace, runs))
    told = f"a commit for each, one after the other: {1 / floor:.0f} a second"
    return [Figure(f"burst of {count} runs", statistics.median(rates), "runs/s", 300.0, told, more=True)]


async def _ended(headrace: Headrace, runs: Sequence[int]) -> float:
    """Wait until runs have ended; seconds from the first one's making to the last one's end."""
    while True:
        row = await headrace.database.fetchrow(TOOK, runs)
        if row is not None:
            break
        await asyncio.sleep(LOOK_SECONDS)
    if row["completed"] != len(runs):
        raise RuntimeError(f"{len(runs) - row['completed']} runs of the burst did not complete")
    return float(row["seconds"])
