"""Making runs: a fresh one, one of some blocks only, or a retry that keeps what an earlier run completed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import Pipeline, restricted, topological_order
from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.domain.suggesting import suggestion
from headrace.engine.reading import UnknownBlock, pinned_pipeline, run_row
from headrace.project.gates import run_gates
from headrace.project.plain import UnusableVariable, kept_variables
from headrace.store.database import Database
from headrace.store.queries import QUERIES
from headrace.store.runs import NewRun, create_run

__all__ = [
    "NoStoredOutput",
    "RunCreation",
    "StillRunning",
    "UnknownBlock",
    "UnusableVariable",
    "require_block",
]


class NoStoredOutput(HeadraceError):
    """A block was to run alone, and a block above it has never completed, or its outputs were removed."""

    code = "no-stored-output"


class StillRunning(HeadraceError):
    """A run can only be retried once it has ended."""

    code = "still-running"


@dataclass(frozen=True)
class RunCreation:
    """Makes runs of one project's pipelines, each for one request, which `key` tells from all others.

    `environ` is what the templates of their limits may read.
    """

    database: Database
    project_id: int
    environ: Mapping[str, str]
    key: str

    async def fresh(self, pipeline: Pipeline, variables: Mapping[str, Any]) -> int:
        """A run of the whole pipeline; its id."""
        return await self._create(pipeline, kept_variables(variables), kept={})

    async def partial(
        self, pipeline: Pipeline, block: str, variables: Mapping[str, Any], *, with_upstream: bool
    ) -> int:
        """A run of one block: on the newest stored outputs above it, or (`with_upstream`) after all blocks above it."""
        require_block(pipeline, block)
        if with_upstream:
            part = restricted(pipeline, pipeline.ancestors(block) | {block})
            return await self._create(part, kept_variables(variables), kept={})
        above = pipeline.by_uuid[block].upstream
        rows = await self.database.fetch(
            QUERIES["last_completed_block_runs"], self.project_id, pipeline.uuid, list(above)
        )
        kept = {row["block"]: row["run_id"] for row in rows}
        missing = [uuid for uuid in above if uuid not in kept]
        if missing:
            raise NoStoredOutput(
                f"Block {block} needs the output of {', '.join(missing)}, which has never completed or was removed.",
                remedy=f"Run the blocks above it too: --block {block} --upstream.",
            )
        return await self._create(restricted(pipeline, {block, *above}), kept_variables(variables), kept=kept)

    async def retry(self, run: int, latest: Pipeline | None, *, from_block: str | None) -> int:
        """A new run that keeps what run `run` completed; from `from_block` on, everything runs again, and so does what
        completed and whose outputs were removed since.

        Runs the pipeline as it was then, or `latest` where that is given. Raises StillRunning, UnknownBlock.
        """
        row = await run_row(self.database, run)
        if row["status"] in (RunStatus.INITIAL, RunStatus.RUNNING):
            raise StillRunning(f"Run {run} is {row['status']}.", remedy=f"Wait, or `headrace cancel {run}` first.")
        pipeline = latest or await pinned_pipeline(self.database, row["version"])
        blocks = await self.database.fetch(QUERIES["block_runs"], run)
        kept = {
            block["block"]: run
            for block in blocks
            if block["status"] == BlockStatus.COMPLETED
            and block["block"] in pipeline.by_uuid
            and not block["outputs_dropped"]
        }
        again = _again(pipeline, kept, from_block)
        kept = {uuid: kept[uuid] for uuid in kept if uuid not in again}
        return await self._create(pipeline, row["variables"], kept=kept, earlier=row)

    async def _create(
        self,
        pipeline: Pipeline,
        variables: Mapping[str, Any],
        *,
        kept: Mapping[str, int],
        earlier: Mapping[str, Any] | None = None,
    ) -> int:
        return await create_run(
            self.database,
            NewRun(
                project_id=self.project_id,
                pipeline=pipeline.uuid,
                version=pipeline.version,
                definition=pipeline.definition,
                blocks=topological_order(pipeline),
                variables=variables,
                kept=kept,
                key=self.key,
                retry_of=earlier["id"] if earlier else None,
                execution_date=earlier["execution_date"] if earlier else None,
                gates=run_gates(self.project_id, pipeline, variables, self.environ),
            ),
        )


def _again(pipeline: Pipeline, kept: Mapping[str, int], from_block: str | None) -> set[str]:
    """The blocks that a retry runs again: those that had not completed, and all below; every one if all had."""
    again = {uuid for uuid in pipeline.by_uuid if uuid not in kept}
    if from_block is not None:
        require_block(pipeline, from_block)
        again.add(from_block)
    for uuid in tuple(again):
        again |= pipeline.descendants(uuid)
    return again or set(pipeline.by_uuid)


def require_block(pipeline: Pipeline, block: str) -> None:
    """Raise UnknownBlock where a pipeline has no block of this uuid."""
    if block not in pipeline.by_uuid:
        raise UnknownBlock(
            f"Pipeline {pipeline.uuid} has no block {block}.",
            remedy=suggestion(block, pipeline.by_uuid, "Its blocks"),
        )
