"""Runs the tests of a pipeline's blocks on their newest stored outputs, without running the blocks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from headrace.domain.moments import written
from headrace.domain.pipeline import Block, BlockLanguage, Pipeline
from headrace.engine.calls import CallVariables, block_call, templates_among
from headrace.engine.shelf import Shelf
from headrace.engine.views import TestReport
from headrace.engine.workers import LogLine, WorkerKey, WorkerPool
from headrace.store.database import Database
from headrace.store.queries import QUERIES
from headrace.worker.protocol import Failure, Mode, OutputRef


async def run_tests(
    database: Database, pool: WorkerPool, pipeline: Pipeline, project: Path, project_id: int, folder: Path
) -> list[TestReport]:
    """A report for each Python block of the pipeline; for one that has never completed there is nothing to test."""
    blocks = [block for block in pipeline.blocks if block.language is BlockLanguage.PYTHON]
    rows = await database.fetch(
        QUERIES["last_completed_block_runs"], project_id, pipeline.uuid, [block.uuid for block in blocks]
    )
    newest = {row["block"]: row["run_id"] for row in rows}
    key = WorkerKey(str(project), f"test-{pipeline.uuid}-{uuid4().hex}", "")
    reports = []
    for block in blocks:
        if block.uuid not in newest:
            reports.append(TestReport(block=block.uuid, run=None, passed=0, failed=0, failure=None))
            continue
        shelf = Shelf(database, newest[block.uuid], folder / f"test-{block.uuid.replace('/', '-')}")
        try:
            refs = (await shelf.refs([block.uuid]))[block.uuid]
            reports.append(await _report(pool, key, block, pipeline, project, newest[block.uuid], refs))
        finally:
            await shelf.close()
    return reports


async def _report(
    pool: WorkerPool,
    key: WorkerKey,
    block: Block,
    pipeline: Pipeline,
    project: Path,
    run: int,
    refs: tuple[OutputRef, ...],
) -> TestReport:
    now = datetime.now(UTC)
    variables = {**pipeline.variables, "env": "test", "execution_date": written(now)}
    call = block_call(
        block,
        pipeline,
        project=str(project),
        run=None,
        attempt=1,
        refs={block.uuid: refs},
        variables=CallVariables(json.dumps(variables), templates_among(pipeline.variables)),
        output_folder="",
        mode=Mode.TEST,
    )
    worker = await pool.acquire(key)
    try:
        result = await worker.call(call, on_log=_unheard, timeout=block.timeout)
    finally:
        pool.release(worker)
    return TestReport(block.uuid, run, result.tests_passed, result.tests_failed, _told(result.failure))


def _told(failure: Failure | None) -> str | None:
    """What the failed tests said; the traceback of whatever else was raised."""
    if failure is None:
        return None
    return failure.message if failure.kind == "test" else failure.text.strip() or failure.message


def _unheard(line: LogLine) -> None:
    """A test's prints are not part of any run's log."""
