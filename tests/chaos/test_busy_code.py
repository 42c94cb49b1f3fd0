"""Fault 17, by users' code: blocks and a sensor that spin or sleep hold up neither the API nor the service's loop.

The short form looks for some seconds; HEADRACE_CHAOS_BUSY_SECONDS=30 is the long one.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.telling import tell
from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import sensor, write_sensor
from tests.support.serving import ServedProcess, started
from tests.support.triggers import write_triggers

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(600)]

SECONDS = float(os.environ.get("HEADRACE_CHAOS_BUSY_SECONDS", "3"))
ANSWER, LAG = 0.2, 0.05
"""The bars, in seconds: of the API's answers and of the loop's lag, each in the 99th percentile."""
PATHS = ("/api/v1/runs?limit=5", "/api/v1/triggers", "/healthz", "/readyz")
PAUSE = 0.005
PATIENCE = 30.0

SPIN = "@custom\ndef spin(*args, **kwargs):\n    while True: pass\n"
SLEEP = "import time\n@custom\ndef sleep(*args, **kwargs):\n    time.sleep(60)\n"
SENSOR = """
import pathlib, time
from headrace import sensor

@sensor(interval=0.1)
def look(begun, **kwargs):
    pathlib.Path(begun).touch()
    {body}
"""
SENSORS = {"spinning": "while True: pass", "sleeping": "time.sleep(60)"}


@dataclass(frozen=True)
class Look:
    """What was seen of a service for a while."""

    answers: list[float]
    lags: Mapping[float, float]
    """How many lags were at most so long, by the bounds of the service's own histogram; infinity for all."""

    @property
    def answer(self) -> float:
        """The 99th percentile of the answers, in seconds."""
        return statistics.quantiles(self.answers, n=100, method="inclusive")[98]

    @property
    def lag(self) -> float:
        """The bound below which 99 of a hundred lags lie."""
        return min(bound for bound, count in self.lags.items() if count >= 0.99 * self.lags[float("inf")])


async def lags(service: ServedProcess) -> dict[float, float]:
    """The service's own histogram of its loop's lags."""
    async with service.client.get(f"{service.url}/metrics") as answer:
        text = await answer.text()
    found = re.findall(r'^headrace_loop_lag_seconds_bucket\{le="(.+?)"\} (\S+)$', text, re.MULTILINE)
    return {float(bound.replace("+Inf", "inf")): float(count) for bound, count in found}


async def look(service: ServedProcess, seconds: float) -> Look:
    """Ask the API all the time for so many seconds."""
    before, answers = await lags(service), []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        assert await service.status(PATHS[len(answers) % len(PATHS)]) == 200
        answers.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE)
    after = await lags(service)
    return Look(answers, {bound: count - before[bound] for bound, count in after.items()})


def write_scene(root: Path) -> Path:
    write_project(root)
    write_pipeline(root, "busy", {"spin": [], "sleep": []}, {"spin": SPIN, "sleep": SLEEP})
    write_pipeline(root, "sensed", {"only": []})
    for name, body in SENSORS.items():
        write_sensor(root, name, SENSOR.format(body=body))
    return root


def begun(root: Path, name: str) -> Path:
    """The file that a sensor makes when it begins to look."""
    return root / f"{name}.begun"


async def until_all_are_busy(service: ServedProcess, run: int, root: Path) -> None:
    """Wait until both blocks run and both sensors have begun to look."""
    await service.reached(run, "running", block="spin")
    await service.reached(run, "running", block="sleep")
    async with asyncio.timeout(PATIENCE):
        while not all(begun(root, name).exists() for name in SENSORS):
            await asyncio.sleep(0.02)


async def test_the_api_answers_and_the_loop_turns_while_blocks_and_sensors_spin_and_sleep(
    tmp_path: Path, database_url: str
):
    root = write_scene(tmp_path / "busy")
    async with started(root, database_url=database_url) as service:
        await service.ready()
        quiet = await look(service, min(SECONDS, 3.0))
        configured = [sensor(name, configuration={"begun": str(begun(root, name))}) for name in SENSORS]
        write_triggers(root, "sensed", configured)
        run = (await service.post("/api/v1/runs", {"pipeline": "busy"}))["id"]
        await until_all_are_busy(service, run, root)
        busy = await look(service, SECONDS)
        view = await service.get(f"/api/v1/runs/{run}")
        assert [block["status"] for block in view["blocks"]] == ["running", "running"]
        await service.post(f"/api/v1/runs/{run}/cancel")
        await service.reached(run, "cancelled")
    tell(
        f"two blocks and two sensors that spin or sleep, {SECONDS:g} s: {len(busy.answers)} answers, "
        f"p99 {busy.answer * 1000:.1f} ms (quiet {quiet.answer * 1000:.1f} ms), "
        f"loop lag p99 at most {busy.lag * 1000:g} ms (quiet {quiet.lag * 1000:g} ms)"
    )
    # A machine that is busy with others shows in the same measure without the blocks.
    assert busy.answer < max(ANSWER, 3 * quiet.answer)
    assert busy.lag <= max(LAG, 2 * quiet.lag)
