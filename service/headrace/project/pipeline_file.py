"""Builds a pipeline from its parsed metadata.yaml; gathers every fault instead of ending at the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from headrace.domain.errors import InvalidPipeline
from headrace.domain.pipeline import (
    NEVER_RUN,
    Block,
    BlockLanguage,
    BlockType,
    Isolation,
    Limits,
    Pipeline,
    topological_order,
)
from headrace.domain.retry import RetryPolicy
from headrace.project.block_files import block_source
from headrace.project.faults import Fault, ProjectFault
from headrace.project.yaml_file import YamlFile

T = TypeVar("T")


def build_pipeline(root: Path, uuid: str, file: YamlFile, settings: Mapping[str, Any]) -> Pipeline:
    """The pipeline in a parsed metadata.yaml of a project with `settings`. Raises ProjectFault with all its faults."""
    return _Builder(root, uuid, file, settings).build()


@dataclass
class _Builder:
    root: Path
    uuid: str
    file: YamlFile
    settings: Mapping[str, Any]
    faults: list[Fault] = field(default_factory=list)

    def build(self) -> Pipeline:
        value = self.file.value
        groups = {key: self._blocks(key) for key in ("blocks", "conditionals", "callbacks")}
        main = groups["blocks"]
        kept = {block.uuid for block in main}
        self._check_upstream(main)
        limits = value.get("concurrency_config") or {}
        pipeline = Pipeline(
            uuid=self.uuid,
            name=str(value.get("name") or self.uuid),
            type=str(value.get("type") or "python"),
            blocks=tuple(b for b in main if b.type not in (BlockType.CONDITIONAL, BlockType.CALLBACK)),
            conditionals=(*groups["conditionals"], *(b for b in main if b.type is BlockType.CONDITIONAL)),
            callbacks=(*groups["callbacks"], *(b for b in main if b.type is BlockType.CALLBACK)),
            variables=value.get("variables") or {},
            limits=Limits(limits.get("block_run_limit"), limits.get("pipeline_block_limit")),
            isolation=self._member(Isolation, value.get("isolation") or Isolation.PIPELINE, "isolation", "isolation"),
            allow_blocks_to_fail=bool(self._setting("allow_blocks_to_fail", False)),
            timeout=self._seconds(self._setting("timeout", None), "timeout"),
        )
        if not self.faults and kept is not None:
            self._check_graph(pipeline)
        if self.faults:
            raise ProjectFault(self.faults)
        return pipeline

    def _setting(self, key: str, default: Any) -> Any:
        nested = self.file.value.get("settings")
        inside = nested.get(key) if isinstance(nested, dict) else None
        return self.file.value.get(key, inside if inside is not None else default)

    def _fault(self, message: str, remedy: str, *path: str | int) -> None:
        key = ".".join(str(step) for step in path)
        self.faults.append(Fault(self.file.file, self.file.line(*path), key, message, remedy))

    def _blocks(self, group: str) -> list[Block]:
        raws = self.file.value.get(group) or []
        if not isinstance(raws, list):
            self._fault(f"`{group}` must be a list.", "Begin each block with `- name:`.", group)
            return []
        seen: set[str] = set()
        blocks = [self._block(group, number, raw, seen) for number, raw in enumerate(raws)]
        left_out = {block.uuid for block in blocks if block and block.type in NEVER_RUN}
        return [_without(block, left_out) for block in blocks if block and block.uuid not in left_out]

    def _block(self, group: str, number: int, raw: Any, seen: set[str]) -> Block | None:
        if not isinstance(raw, dict) or not raw.get("uuid"):
            self._fault(f"block {number + 1} has no uuid.", "Give it `uuid: some_name`.", group, number)
            return None
        uuid = str(raw["uuid"])
        if uuid in seen:
            self._fault(f"two blocks have the uuid {uuid}.", "Rename one of them.", group, number, "uuid")
            return None
        seen.add(uuid)
        before = len(self.faults)
        kind = self._type(group, number, raw)
        language = self._member(
            BlockLanguage, raw.get("language") or "python", f"block {uuid}: language", group, number, "language"
        )
        if len(self.faults) > before or kind is None:
            return None
        return self._complete(group, number, raw, uuid, kind, language)

    def _type(self, group: str, number: int, raw: Mapping[str, Any]) -> BlockType | None:
        default = {"conditionals": "conditional", "callbacks": "callback"}.get(group)
        name = str(raw.get("type") or default)
        if name in set(BlockType):
            return BlockType(name)
        known = ", ".join(BlockType)
        self._fault(f"block {raw['uuid']}: unknown type {name}.", f"Use one of: {known}.", group, number, "type")
        return None

    def _complete(
        self, group: str, number: int, raw: Mapping[str, Any], uuid: str, kind: BlockType, language: BlockLanguage
    ) -> Block | None:
        place = Fault(self.file.file, self.file.line(group, number, "uuid"), f"{group}.{number}", "")
        try:
            source = None if kind in NEVER_RUN else block_source(self.root, self.uuid, raw, kind, language, place)
        except ProjectFault as fault:
            self.faults += fault.faults
            return None
        configuration = raw.get("configuration") or {}
        return Block(
            uuid=uuid,
            type=kind,
            language=language,
            name=str(raw.get("name") or uuid),
            upstream=tuple(str(above) for above in raw.get("upstream_blocks") or ()),
            configuration=configuration,
            source=source,
            retry=self._retry(raw, group, number),
            timeout=self._seconds(raw.get("timeout"), group, number, "timeout"),
            memory_limit=self._bytes(configuration.get("memory_limit"), group, number, "configuration", "memory_limit"),
        )

    def _retry(self, raw: Mapping[str, Any], group: str, number: int) -> RetryPolicy:
        policy = RetryPolicy()
        for value in (self.settings.get("retry_config"), self.file.value.get("retry_config"), raw.get("retry_config")):
            if isinstance(value, dict):
                try:
                    policy = policy.overlaid(_retry_values(value))
                except (TypeError, ValueError):
                    self._fault("retry_config: its values must be numbers.", "Write e.g. `retries: 3`.", group, number)
        return policy

    def _member(self, kind: type[T], value: Any, what: str, *path: str | int) -> T:
        try:
            return kind(value)  # type: ignore[call-arg]
        except ValueError:
            known = ", ".join(kind)  # type: ignore[call-overload]
            self._fault(f"{what}: there is no {value}.", f"Use one of: {known}.", *path)
            return next(iter(kind))  # type: ignore[call-overload,no-any-return]

    def _seconds(self, value: Any, *path: str | int) -> float | None:
        if value is None:
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            self._fault(f"timeout: {value!r} is not a number of seconds.", "Write e.g. `timeout: 600`.", *path)
            return None

    def _bytes(self, value: Any, *path: str | int) -> int | None:
        if value is None:
            return None
        try:
            return parse_bytes(value)
        except ValueError:
            self._fault(f"memory_limit: {value!r} is no size.", "Write bytes, or e.g. 512MB.", *path)
            return None

    def _check_upstream(self, blocks: list[Block]) -> None:
        known = {block.uuid for block in blocks}
        raws = self.file.value.get("blocks") or []
        listed = {str(raw.get("uuid")): number for number, raw in enumerate(raws) if isinstance(raw, dict)}
        for block in blocks:
            for above in block.upstream:
                if above not in known and above not in listed:
                    self._fault(
                        f"block {block.uuid}: unknown upstream block {above}.",
                        "Name a block of this pipeline, or remove it from upstream_blocks.",
                        "blocks", listed[block.uuid], "upstream_blocks",
                    )  # fmt: skip

    def _check_graph(self, pipeline: Pipeline) -> None:
        try:
            topological_order(pipeline)
        except InvalidPipeline as error:
            raws = [str(raw["uuid"]) for raw in self.file.value["blocks"]]
            self._fault(error.message, error.remedy, "blocks", raws.index(_in_cycle(pipeline)), "upstream_blocks")


def _in_cycle(pipeline: Pipeline) -> str:
    return next((b.uuid for b in pipeline.blocks if b.uuid in pipeline.descendants(b.uuid)), pipeline.blocks[0].uuid)


def _without(block: Block, left_out: set[str]) -> Block:
    if not left_out.intersection(block.upstream):
        return block
    return Block(**{**{name: getattr(block, name) for name in Block.__slots__},
                    "upstream": tuple(above for above in block.upstream if above not in left_out)})  # fmt: skip


def _retry_values(value: Mapping[str, Any]) -> dict[str, Any]:
    """Mage's names and ours for a retry policy's values."""
    known: dict[str, Any] = {}
    for name, ours, kind in (("retries", "count", int), ("delay", "delay", float), ("max_delay", "cap", float),
                             ("factor", "factor", float), ("jitter", "jitter", float)):  # fmt: skip
        if value.get(name) is not None:
            known[ours] = kind(value[name])
    if value.get("exponential_backoff") is False:
        known["factor"] = 1.0
    return known


_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "": 1}


def parse_bytes(value: Any) -> int:
    """Bytes of a size such as 1000000, "512MB" or "2GiB". Raises ValueError."""
    text = str(value).strip().lower()
    number = text.rstrip("bgikm")
    return int(float(number) * _UNITS[text[len(number) :]]) if text[len(number) :] in _UNITS else _refuse(value)


def _refuse(value: Any) -> int:
    raise ValueError(f"{value!r} is no size")
