"""Pins pipelines for the runs that events make: their version, recorded before a run can name it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import Pipeline, topological_order
from headrace.domain.triggers import Trigger
from headrace.store.database import Database
from headrace.store.runs import keep_version
from headrace.triggers.shared_reading import ReadPipeline, SharedReads

MOST_REMEMBERED = 500


class UnknownProject(HeadraceError):
    """An event belongs to a project that this service does not serve."""

    code = "unknown-project"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a trigger says otherwise than its pipeline; None for no word on it."""

    allow_blocks_to_fail: bool | None = None
    timeout: float | None = None

    def laid_over(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline with these settings."""
        fails = pipeline.allow_blocks_to_fail if self.allow_blocks_to_fail is None else self.allow_blocks_to_fail
        timeout = pipeline.timeout if self.timeout is None else self.timeout
        if (fails, timeout) == (pipeline.allow_blocks_to_fail, pipeline.timeout):
            return pipeline
        return replace(pipeline, allow_blocks_to_fail=fails, timeout=timeout)


NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True)
class Pinned:
    """A pipeline as a run made now has it, and the version under which it is recorded."""

    pipeline: Pipeline
    version: str


def overrides_of(trigger: Trigger) -> Overrides:
    """What a trigger says otherwise than its pipeline."""
    return Overrides(trigger.allow_blocks_to_fail, trigger.timeout)


@dataclass
class PipelinePins:
    """Reads pipelines of the projects that a service serves, and records each version before a run can name it."""

    database: Database
    readers: Mapping[int, ReadPipeline]
    """A project's id to what reads its pipelines."""
    _pinned: OrderedDict[tuple[int, Overrides], tuple[Pipeline, Pinned]] = field(default_factory=OrderedDict)
    """A pipeline as read (by identity: readers give the same value for the same files), and what was recorded of it."""
    _reads: WeakValueDictionary[tuple[int, str], SharedReads] = field(default_factory=WeakValueDictionary)
    """The reads under way, by project and pipeline."""

    async def pin(self, project_id: int, pipeline: str, overrides: Overrides = NO_OVERRIDES) -> Pinned:
        """What a run of `pipeline` made now has. Raises UnknownProject, ProjectFault."""
        reader = self.readers.get(project_id)
        if reader is None:
            raise UnknownProject(
                f"This service does not serve project {project_id}.", remedy="Start it with that project's folder."
            )
        reads = self._reads.get((project_id, pipeline))
        if reads is None:
            reads = self._reads[project_id, pipeline] = SharedReads(reader, pipeline)
        read = await reads.read()
        key = (id(read), overrides)
        known = self._pinned.get(key)
        if known is None:
            known = read, await self._record(overrides.laid_over(read))
            self._remember(key, known)
        return known[1]

    async def _record(self, pipeline: Pipeline) -> Pinned:
        blocks = topological_order(pipeline)
        async with self.database.connection() as connection:
            await keep_version(connection, pipeline.version, pipeline.uuid, pipeline.definition, blocks)
        return Pinned(pipeline, pipeline.version)

    def _remember(self, key: tuple[int, Overrides], known: tuple[Pipeline, Pinned]) -> None:
        self._pinned[key] = known
        while len(self._pinned) > MOST_REMEMBERED:
            self._pinned.popitem(last=False)
