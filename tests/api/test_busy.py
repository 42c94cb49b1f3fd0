"""Blocks that never give up the processor, or sleep, hold up neither the API nor the service's loop."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from tests.support.api import Api
from tests.support.projects import write_pipeline

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

SAMPLES = 200
SPIN = "@custom\ndef spin(*args, **kwargs):\n    while True: pass\n"
SLEEP = "import time\n@custom\ndef sleep(*args, **kwargs):\n    time.sleep(60)\n"


async def sampled(api: Api) -> tuple[float, float]:
    """The 99th percentile of the API's answers, and of the loop's lag meanwhile, in seconds."""
    lags: list[float] = []
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            lags.append(loop.time() - due)

    measuring = asyncio.create_task(measure())
    answers = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        await api.get("/api/v1/runs?limit=5")
        answers.append(time.perf_counter() - began)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    return _p99(answers), _p99(lags)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


async def test_the_api_answers_and_the_loop_turns_while_blocks_spin_and_sleep(driven: Api):
    root = driven.headrace.project.root
    write_pipeline(root, "busy", {"spin": [], "sleep": []}, {"spin": SPIN, "sleep": SLEEP})
    quiet_answer, quiet_lag = await sampled(driven)
    run = (await driven.post("/api/v1/runs", {"pipeline": "busy"}))["id"]
    try:
        async with asyncio.timeout(20):
            async for view in driven.headrace.changes(run):
                if all(block.status == "running" for block in view.blocks):
                    break
        answer, lag = await sampled(driven)
    finally:
        await driven.post(f"/api/v1/runs/{run}/cancel", status=202)
        async with asyncio.timeout(20):
            assert (await driven.headrace.finished(run)).status == "cancelled"
    # A machine that is busy with others shows in the same measure without the blocks.
    assert answer < max(0.2, 3 * quiet_answer)
    assert lag < max(0.05, 3 * quiet_lag)
