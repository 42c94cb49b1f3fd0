"""Runs as people see them: views read from the database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import Pipeline, pipeline_from_json, topological_order
from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.domain.suggesting import suggestion
from headrace.engine.views import BlockRunView, LogLineView, OutputView, RunEnd, RunSummary, RunView
from headrace.store.database import Database
from headrace.store.logs import log_lines
from headrace.store.outputs import blob_parts
from headrace.store.queries import QUERIES


class UnknownRun(HeadraceError):
    """There is no run with this id."""

    code = "unknown-run"


class UnknownBlock(HeadraceError):
    """The pipeline, or the run, has no block of this uuid."""

    code = "unknown-block"


class UnknownOutput(HeadraceError):
    """The block has no such output in this run."""

    code = "unknown-output"


async def run_row(database: Database, run: int) -> Mapping[str, Any]:
    """The row of a run. Raises UnknownRun."""
    row = await database.fetchrow(QUERIES["run"], run)
    if row is None:
        raise _unknown(run)
    return dict(row)


async def run_end(database: Database, run: int) -> RunEnd | None:
    """How a run ended; None while it has not. Raises UnknownRun."""
    row = await database.fetchrow(QUERIES["run_end"], run)
    if row is None:
        raise _unknown(run)
    return RunEnd(row["status"], row["reason"]) if row["finished_at"] is not None else None


def _unknown(run: int) -> UnknownRun:
    return UnknownRun(f"There is no run {run}.", remedy="`headrace runs` lists the runs there are.")


MOST_PINNED = 64
_pinned: OrderedDict[str, Pipeline] = OrderedDict()
"""Pipelines by their version, those that were asked for last; a version is a hash of all that it stands for."""


async def pinned_pipeline(database: Database, version: str) -> Pipeline:
    """The pipeline that was pinned under a version's hash."""
    known = _pinned.get(version)
    if known is None:
        known = _pinned[version] = pipeline_from_json(await database.fetchval(QUERIES["pipeline_version"], version))
    _pinned.move_to_end(version)
    while len(_pinned) > MOST_PINNED:
        _pinned.popitem(last=False)
    return known


async def view_run(database: Database, run: int) -> RunView:
    """A run with its blocks in topological order. Raises UnknownRun."""
    row = await run_row(database, run)
    pipeline = await pinned_pipeline(database, row["version"])
    blocks = {block["block"]: block for block in await database.fetch(QUERIES["block_runs"], run)}
    order = [uuid for uuid in topological_order(pipeline) if uuid in blocks]
    return RunView(
        id=row["id"],
        pipeline=row["pipeline"],
        status=row["status"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        reason=row["reason"] or _run_wait(row),
        error=_first_error(blocks),
        variables=row["variables"],
        blocks=tuple(_block_view(pipeline, uuid, blocks) for uuid in order),
        step=row["step"],
        project=row["project"],
        due=row["due"],
        passed_sla=row["passed_sla"],
    )


UNKNOWN_STATE = "a newer Headrace gave it this state, which this version does not know and leaves alone"
_RUN_STATUSES = frozenset(map(str, RunStatus))
_BLOCK_STATUSES = frozenset(map(str, BlockStatus))


def _run_wait(row: Mapping[str, Any]) -> str | None:
    if row["parked_on"] is not None and row["status"] == "initial":
        return f"waiting for a place under a limit: `headrace why {row['id']}` tells who holds it"
    if row["status"] == "initial":
        return "waiting for a service to claim it"
    if row["status"] not in _RUN_STATUSES:
        return UNKNOWN_STATE
    if row["status"] == "running" and not row["driven"]:
        return "its service stopped; waiting for another one to take it over (`headrace resume`)"
    return None


def _first_error(blocks: Mapping[str, Any]) -> Any:
    return next((block["error"] for block in blocks.values() if block["status"] == BlockStatus.FAILED), None)


def _block_view(pipeline: Pipeline, uuid: str, blocks: Mapping[str, Any]) -> BlockRunView:
    row, block = blocks[uuid], pipeline.by_uuid[uuid]
    return BlockRunView(
        uuid=uuid,
        type=block.type,
        upstream=block.upstream,
        status=row["status"],
        attempt=row["attempt"],
        queued_at=row["queued_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        reason=row["reason"] or _block_wait(row, block.upstream, blocks),
        error=row["error"],
        rows=row["rows"],
        outputs=row["outputs"],
    )


def _block_wait(row: Mapping[str, Any], upstream: tuple[str, ...], blocks: Mapping[str, Any]) -> str | None:
    if row["kept_from"] is not None:
        return f"kept from run {row['kept_from']}"
    if row["status"] not in _BLOCK_STATUSES:
        return UNKNOWN_STATE
    if row["status"] == BlockStatus.CONDITION_FAILED:
        left_out = [above for above in upstream if blocks[above]["status"] == BlockStatus.CONDITION_FAILED]
        return f"left out, as {', '.join(left_out)} was" if left_out else None
    if row["status"] != BlockStatus.INITIAL:
        return None
    waits = [above for above in upstream if blocks[above]["status"] != BlockStatus.COMPLETED]
    return f"waiting for {', '.join(waits) or 'its run to begin'}"


async def summaries(
    database: Database,
    projects: Sequence[int],
    *,
    limit: int,
    before: int | None,
    pipeline: str | None,
    status: str | None,
) -> list[RunSummary]:
    """A page of some projects' runs, newest first, with ids under `before`."""
    rows = await database.fetch(QUERIES["newest_runs"], projects, before, pipeline, status, limit)
    return [summary_of(row) for row in rows]


def summary_of(row: Mapping[str, Any]) -> RunSummary:
    """A row of a list of runs as people see it."""
    return RunSummary(
        id=row["id"],
        pipeline=row["pipeline"],
        status=row["status"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        reason=row["reason"] or _run_wait(row),
        blocks_done=row["done"],
        blocks_total=row["total"],
        project=row["project"],
    )


async def known_block(database: Database, run: int, block: str) -> None:
    """Raise UnknownRun, or UnknownBlock where a run's pipeline has no block, conditional or callback of this uuid."""
    pipeline = await pinned_pipeline(database, (await run_row(database, run))["version"])
    known = {one.uuid for one in (*pipeline.blocks, *pipeline.conditionals, *pipeline.callbacks)}
    if block not in known:
        raise UnknownBlock(
            f"Run {run} of {pipeline.uuid} has no block {block}.",
            remedy=suggestion(block, pipeline.by_uuid, "Its blocks"),
        )


async def lines_after(database: Database, run: int, block: str | None, after: int) -> list[tuple[int, LogLineView]]:
    """The next page of the lines that are stored beyond id `after`, each with its id; empty after the last one."""
    return [
        (
            row["id"],
            LogLineView(
                block=row["block"],
                attempt=row["attempt"],
                seq=row["seq"],
                at=row["at"],
                stream=row["stream"],
                level=row["level"],
                text=row["text"],
            ),
        )
        for row in await log_lines(database, run, after=after, block=block)
    ]


async def output_parts(database: Database, run: int, block: str, index: int) -> tuple[OutputView, AsyncIterator[bytes]]:
    """An output's facts, and its bytes in parts. Raises UnknownRun or UnknownOutput."""
    row = await database.fetchrow(QUERIES["output"], run, block, index)
    if row is None:
        raise await _unknown_output(database, run, block, index)
    view = OutputView(
        run=run,
        block=block,
        index=index,
        outputs=row["outputs"],
        codec=row["codec"],
        bytes=row["bytes"],
        rows=row["rows"],
        preview=row["preview"],
    )
    return view, (blob_parts(database, row["blob"]) if row["blob"] else _one(row["content"]))


async def _unknown_output(database: Database, run: int, block: str, index: int) -> HeadraceError:
    await known_block(database, run, block)
    rows = {row["block"]: row for row in await database.fetch(QUERIES["block_runs"], run)}
    if block not in rows or not rows[block]["outputs"]:
        status = rows[block]["status"] if block in rows else "not part of the run"
        if status == BlockStatus.COMPLETED:
            return UnknownOutput(
                f"Block {block} of run {run} has no output: its function returned nothing.",
                remedy="Return a value from it to have one.",
            )
        return UnknownOutput(
            f"Block {block} of run {run} has no output: it is {status}.", remedy=f"See why: `headrace show {run}`."
        )
    last = rows[block]["outputs"] - 1
    return UnknownOutput(
        f"Block {block} of run {run} has no output {index}.", remedy=f"Its outputs are numbered from 0 to {last}."
    )


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
