"""A pipeline as a graph of blocks. Pure values: whoever reads them from disk or from the database builds these."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar, cast

from headrace.domain.errors import InvalidPipeline
from headrace.domain.limits import NO_RUN_LIMITS, RunLimits
from headrace.domain.newer import known
from headrace.domain.retry import RetryPolicy

T = TypeVar("T")


class BlockType(StrEnum):
    """What a block is for; it decides the decorator that marks its function and the folder of its file."""

    DATA_LOADER = "data_loader"
    TRANSFORMER = "transformer"
    DATA_EXPORTER = "data_exporter"
    CUSTOM = "custom"
    SENSOR = "sensor"
    CONDITIONAL = "conditional"
    CALLBACK = "callback"
    SCRATCHPAD = "scratchpad"
    MARKDOWN = "markdown"
    CHART = "chart"


NEVER_RUN = frozenset({BlockType.SCRATCHPAD, BlockType.MARKDOWN, BlockType.CHART})
"""Block types that are part of a project and never part of a run."""


class BlockLanguage(StrEnum):
    """The language of a block's file."""

    PYTHON = "python"
    SQL = "sql"
    R = "r"
    YAML = "yaml"
    MARKDOWN = "markdown"


class Isolation(StrEnum):
    """How much of a worker process a block shares with others."""

    PIPELINE = "pipeline"
    """Warm workers, each serving one version of one pipeline; every call gets a fresh namespace."""
    RUN = "run"
    """Each run gets freshly forked workers that no other run uses."""
    BLOCK = "block"
    """Each attempt of each block gets a freshly forked worker."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a block's file as pinned for a run. `path` is relative to the project's folder."""

    path: str
    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a pipeline. `upstream` keeps the order of the file: it is the order of positional arguments."""

    uuid: str
    type: BlockType
    language: BlockLanguage = BlockLanguage.PYTHON
    name: str = ""
    upstream: tuple[str, ...] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: float | None = None
    """Seconds an attempt may take; None for no limit."""
    memory_limit: int | None = None
    """Bytes of address space an attempt may take (RLIMIT_AS); None for no limit."""
    pools: Mapping[str, int] = field(default_factory=dict)
    """The pools whose slots an attempt holds, each to how many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many blocks may run at once; None for no limit of its own."""

    per_run: int | None = None
    per_pipeline: int | None = None


@dataclass(frozen=True)
class Pipeline:
    """A pipeline as pinned for a run: graph, sources, policies.

    `blocks` are those that can be part of a run. `conditionals` and `callbacks` are blocks too; their `upstream` names
    the blocks that they guard or follow.
    """

    uuid: str
    name: str = ""
    type: str = "python"
    blocks: tuple[Block, ...] = ()
    conditionals: tuple[Block, ...] = ()
    callbacks: tuple[Block, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    run_limits: RunLimits = NO_RUN_LIMITS
    isolation: Isolation = Isolation.PIPELINE
    allow_blocks_to_fail: bool = False
    timeout: float | None = None
    """Seconds a run may take; None for no limit."""

    @cached_property
    def by_uuid(self) -> Mapping[str, Block]:
        return {block.uuid: block for block in self.blocks}

    @cached_property
    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """Block uuid to the uuids of the blocks right after it."""
        after: dict[str, list[str]] = {block.uuid: [] for block in self.blocks}
        for block in self.blocks:
            for above in block.upstream:
                after[above].append(block.uuid)
        return {uuid: tuple(below) for uuid, below in after.items()}

    @cached_property
    def definition(self) -> bytes:
        """Everything that is pinned for a run (graph, sources, policies) as canonical JSON."""
        text = json.dumps(pipeline_to_json(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return text.encode()

    @cached_property
    def version(self) -> str:
        """SHA-256 of the definition, in hex."""
        return hashlib.sha256(self.definition).hexdigest()

    @property
    def own_pool(self) -> str:
        """The pool that stands for the limit of blocks over all runs of the pipeline."""
        return f"pipeline {self.uuid}"

    def slots_of(self, uuid: str) -> Mapping[str, int]:
        """The slots that an attempt of a block holds: those of its pools, and one of the pipeline's own limit."""
        pools = self.by_uuid[uuid].pools
        return pools if self.limits.per_pipeline is None else {**pools, self.own_pool: 1}

    def conditions_of(self, uuid: str) -> tuple[Block, ...]:
        return tuple(block for block in self.conditionals if uuid in block.upstream)

    def callbacks_of(self, uuid: str) -> tuple[Block, ...]:
        return tuple(block for block in self.callbacks if uuid in block.upstream)

    def descendants(self, uuid: str) -> frozenset[str]:
        """Every block that a block's output can reach, without itself."""
        return _reach(self.downstream, uuid)

    def ancestors(self, uuid: str) -> frozenset[str]:
        """Every block that can reach a block, without itself."""
        return _reach({block.uuid: block.upstream for block in self.blocks}, uuid)


def _reach(edges: Mapping[str, Sequence[str]], start: str) -> frozenset[str]:
    seen: set[str] = set()
    waiting = deque(edges[start])
    while waiting:
        uuid = waiting.popleft()
        if uuid not in seen:
            seen.add(uuid)
            waiting.extend(edges[uuid])
    return frozenset(seen)


def topological_order(pipeline: Pipeline) -> tuple[str, ...]:
    """Block uuids, each after all of its upstream ones; ties in the file's order.

    Raises InvalidPipeline for a duplicate uuid, an unknown upstream or a cycle, naming the blocks of the cycle.
    """
    _check_uuids(pipeline)
    missing = {block.uuid: len(set(block.upstream)) for block in pipeline.blocks}
    ready = deque(uuid for uuid, count in missing.items() if count == 0)
    order: list[str] = []
    while ready:
        uuid = ready.popleft()
        order.append(uuid)
        for below in dict.fromkeys(pipeline.downstream[uuid]):
            missing[below] -= 1
            if missing[below] == 0:
                ready.append(below)
    if len(order) < len(pipeline.blocks):
        cycle = find_cycle({b.uuid: b.upstream for b in pipeline.blocks if b.uuid not in set(order)})
        raise InvalidPipeline(
            f"pipeline {pipeline.uuid}: its blocks wait for each other in a cycle: {' -> '.join(cycle)}.",
            remedy="Remove one of these upstream_blocks.",
        )
    return tuple(order)


def _check_uuids(pipeline: Pipeline) -> None:
    seen: set[str] = set()
    for block in pipeline.blocks:
        if block.uuid in seen:
            raise InvalidPipeline(
                f"pipeline {pipeline.uuid}: two blocks have the uuid {block.uuid}.", remedy="Rename one of them."
            )
        seen.add(block.uuid)
    for block in pipeline.blocks:
        for above in block.upstream:
            if above not in seen:
                raise InvalidPipeline(
                    f"pipeline {pipeline.uuid}, block {block.uuid}: unknown upstream block {above}.",
                    remedy="Name a block of this pipeline, or remove it from upstream_blocks.",
                )


def restricted(pipeline: Pipeline, uuids: Collection[str]) -> Pipeline:
    """The pipeline with only some of its blocks; edges from blocks that are left out are dropped."""
    return replace(
        pipeline,
        blocks=tuple(
            replace(block, upstream=tuple(above for above in block.upstream if above in uuids))
            for block in pipeline.blocks
            if block.uuid in uuids
        ),
    )


def find_cycle(upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """One cycle among blocks that each have an upstream block among them, first block repeated at the end."""
    trail: list[str] = []
    uuid = next(iter(upstream))
    while uuid not in trail:
        trail.append(uuid)
        uuid = next(above for above in upstream[uuid] if above in upstream)
    return [*trail[trail.index(uuid) :], uuid]


def pipeline_to_json(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline as JSON values."""
    return {
        **_fields(pipeline),
        "blocks": [_block_to_json(block) for block in pipeline.blocks],
        "conditionals": [_block_to_json(block) for block in pipeline.conditionals],
        "callbacks": [_block_to_json(block) for block in pipeline.callbacks],
        "limits": _fields(pipeline.limits),
        "run_limits": _fields(pipeline.run_limits),
    }


def _block_to_json(block: Block) -> dict[str, Any]:
    source = None if block.source is None else _fields(block.source)
    return {**_fields(block), "source": source, "retry": _fields(block.retry)}


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass; what they hold is neither copied, as `asdict` does, nor looked into."""
    return {each: getattr(value, each) for each in type(value).__dataclass_fields__}


def _made(kind: type[T], value: Mapping[str, Any]) -> T:
    """A value of those fields that this version knows: a newer one, which shares the database, may have pinned more."""
    known = {field.name for field in fields(cast(Any, kind))}
    return kind(**{name: item for name, item in value.items() if name in known})


def pipeline_from_json(value: Mapping[str, Any]) -> Pipeline:
    """The pipeline that `pipeline_to_json` gave this value for. Raises NewerRecord."""
    return Pipeline(
        uuid=value["uuid"],
        name=value["name"],
        type=value["type"],
        blocks=_blocks(value["blocks"]),
        conditionals=_blocks(value["conditionals"]),
        callbacks=_blocks(value["callbacks"]),
        variables=value["variables"],
        limits=_made(Limits, value["limits"]),
        run_limits=_made(RunLimits, value.get("run_limits", {})),
        isolation=known(Isolation, value["isolation"], f"the isolation of pipeline {value['uuid']}"),
        allow_blocks_to_fail=value["allow_blocks_to_fail"],
        timeout=value["timeout"],
    )


def _blocks(values: Sequence[Mapping[str, Any]]) -> tuple[Block, ...]:
    return tuple(_block(value) for value in values)


def _block(value: Mapping[str, Any]) -> Block:
    source = value["source"]
    return Block(
        uuid=value["uuid"],
        type=known(BlockType, value["type"], f"the type of block {value['uuid']}"),
        language=known(BlockLanguage, value["language"], f"the language of block {value['uuid']}"),
        name=value["name"],
        upstream=tuple(value["upstream"]),
        configuration=value["configuration"],
        source=_made(Source, source) if source else None,
        retry=_made(RetryPolicy, value["retry"]),
        timeout=value["timeout"],
        memory_limit=value["memory_limit"],
        pools=value.get("pools", {}),
    )
