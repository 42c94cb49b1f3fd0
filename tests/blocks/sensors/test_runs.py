"""Runs of other pipelines: asked for by a sensor in a pipeline, and as events with their execution_date."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from headrace.engine.answering import RunAnswers
from headrace.service import open_headrace
from headrace.store.database import Database

from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import sensor, sensor_service
from tests.support.triggers import write_triggers

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

WAITING = """
from mage_ai.orchestration.run_status_checker import check_status

@sensor(interval=0.1)
def wait(*args, **kwargs):
    return check_status("above", kwargs["execution_date"], {more})
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "project")
    write_pipeline(root, "above", {"load": []})
    return root


def write_waiting(root: Path, more: str = "hours=24") -> None:
    write_pipeline(root, "below", {"wait": []}, {"wait": WAITING.format(more=more)}, types={"wait": "sensor"})


async def seen_waiting(headrace: Any, run: int) -> None:
    async with asyncio.timeout(20):
        async for view in headrace.changes(run):
            if "seen nothing yet" in (view.blocks[0].reason or ""):
                return


@pytest.mark.parametrize("more", ["hours=24", "block_uuid='load'"])
async def test_a_sensor_waits_for_another_pipelines_success(root: Path, database_url: str, more: str) -> None:
    write_waiting(root, more)
    async with open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}) as headrace:
        await headrace.database.execute(
            "UPDATE headrace.run SET execution_date = now() - interval '2 days' WHERE id = $1",
            (await headrace.finished(await headrace.create_run("above"))).id,
        )
        below = await headrace.create_run("below")
        await seen_waiting(headrace, below)
        above = await headrace.create_run("above")
        await headrace.database.execute("UPDATE headrace.run SET execution_date = now() - interval '1 hour' WHERE id = $1",
                                        above)  # fmt: skip
        await headrace.finished(above)
        async with asyncio.timeout(20):
            assert (await headrace.finished(below)).status == "completed"


async def test_a_sensor_fails_with_the_run_that_it_waits_for(root: Path, database_url: str) -> None:
    write_pipeline(root, "above", {"load": []}, {"load": "@custom\ndef load():\n    raise ValueError\n"})
    write_waiting(root)
    async with open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}) as headrace:
        above = await headrace.create_run("above")
        await headrace.finished(above)
        async with asyncio.timeout(20):
            view = await headrace.finished(await headrace.create_run("below"))
    assert view.status == "failed"
    assert f"Run {above} of above ended as failed" in view.blocks[0].error["message"]


async def test_each_run_that_completes_is_an_event_of_the_same_interval(
    root: Path, database: Database, database_url: str
) -> None:
    write_pipeline(root, "below", {"load": []})
    watch = sensor("done", use="pipeline_success", interval=0.2, configuration={"pipeline": "above"})
    write_triggers(root, "below", [watch])
    answers = RunAnswers(database)

    async def answered(project: int, question: str, content: Mapping[str, Any]) -> Any:
        return await answers.answer(project, question, content)

    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(root, environ=environ) as headrace:
        runs = []
        for number in range(2):  # one after the other: they are told in the order of their ends
            runs.append((await headrace.finished(await headrace.create_run("above"))).id)
            await database.execute(
                "UPDATE headrace.run SET execution_date = $2 WHERE id = $1", runs[-1], NOON + timedelta(hours=number)
            )
        async with sensor_service(database, root, questions=answered) as service:
            payloads = await service.until_events("done", 2)
            runs.append((await headrace.finished(await headrace.create_run("above"))).id)
            payloads = await service.until_events("done", 3)
    assert [payload["run"] for payload in payloads] == runs
    dates = await database.fetch("SELECT execution_date FROM headrace.run WHERE pipeline = 'below' ORDER BY id LIMIT 2")
    assert [row["execution_date"] for row in dates] == [NOON, NOON + timedelta(hours=1)]
