"""Builds a pipeline from its metadata.yaml: the graph, the pinned sources, the policies, and every fault on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.blocks.safe_yaml import Document, YamlFault, read_yaml
from headrace.domain.limits import RunLimits
from headrace.domain.pipeline import NEVER_RUN, Block, BlockType, Isolation, Limits, Pipeline, Source
from headrace.domain.retention import Retention
from headrace.domain.retry import RetryPolicy
from headrace.project import policies
from headrace.project.blocks import Entry, FaultList, read_entries
from headrace.project.faults import Fault, Severity
from headrace.project.files import (
    EXTENSIONS,
    FileRequest,
    UnreadableFile,
    candidates,
    find_file,
    inside,
    pinned,
    read_text,
    relative,
)
from headrace.project.graph import find_cycle
from headrace.project.plain import NotPlain, plain
from headrace.project.retention import retention_of

_APART = NEVER_RUN | {BlockType.CONDITIONAL, BlockType.CALLBACK}
"""Types that are no nodes of a run's graph."""
_NOT_RUN = frozenset({"integration", "streaming"})
_RUN_AS_PYTHON = frozenset({"python", "pyspark", "databricks", "execution_framework"})


@dataclass(frozen=True)
class Defaults:
    """A project's policies, which its pipelines and blocks may override."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=Limits)
    run_limits: RunLimits = field(default_factory=RunLimits)
    pools: Mapping[str, int] = field(default_factory=dict)
    retention: Retention = field(default_factory=Retention)
    isolation: Isolation = Isolation.PIPELINE


@dataclass(frozen=True)
class Reading:
    """What was found where a pipeline should be.

    `pipeline` holds whatever could be read, for listing, and is None if nothing could; it may run only if no fault is
    an error. `entries` and `document` tell where in the file things stand; `places` are all that were looked at for the
    files of its blocks, relative to the project's folder.
    """

    uuid: str
    file: str
    faults: tuple[Fault, ...] = ()
    pipeline: Pipeline | None = None
    entries: tuple[Entry, ...] = ()
    places: tuple[str, ...] = ()
    document: Document = field(default_factory=lambda: Document(None))
    retention: Retention | None = None
    """The pipeline's own, where it says otherwise than its project."""


def build_pipeline(root: Path, uuid: str, defaults: Defaults) -> Reading:
    """Read the pipeline in `pipelines/<uuid>/`; never raises for what its files hold."""
    file = f"pipelines/{uuid}/metadata.yaml"
    try:
        text = read_text(root, inside(root, file))
        document = read_yaml(text)
    except UnreadableFile as error:
        return Reading(uuid, file, (Fault(file, None, "", error.message, error.remedy),))
    except YamlFault as error:
        return Reading(uuid, file, (Fault(file, error.line, "", error.message, error.remedy),))
    faults = FaultList(file, document)
    if not isinstance(document.value, dict):
        faults.add((), "It is not a mapping.", "Write `uuid:`, `type:` and `blocks:`.")
        return Reading(uuid, file, tuple(faults.found), document=document)
    return _Building(root, uuid, defaults, document.value, faults).reading()


@dataclass
class _Building:
    """One pipeline while it is built; lives for one call of `build_pipeline`."""

    root: Path
    uuid: str
    defaults: Defaults
    values: Mapping[str, Any]
    faults: FaultList
    entries: list[Entry] = field(default_factory=list)
    places: dict[str, None] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def reading(self) -> Reading:
        for key, line in self.faults.document.repeated_keys():
            told = f"The key {key} stands twice; the last one counts."
            self.faults.found.append(Fault(self.faults.file, line, key, told, "Remove one.", Severity.WARNING))
        self.entries = read_entries(self.values, self.faults)
        self.retry = policies.retry_policy(
            self.defaults.retry, self.values.get("retry_config"), self._refuser("retry_config")
        )
        pipeline = self._pipeline()
        self._check_cycle(pipeline)
        retention = self._retention()
        faults = tuple(sorted(self.faults.found, key=lambda fault: fault.line or 0))
        return Reading(
            self.uuid,
            self.faults.file,
            faults,
            pipeline,
            tuple(self.entries),
            tuple(self.places),
            self.faults.document,
            retention,
        )

    def _retention(self) -> Retention | None:
        given = self.values.get("retention")
        return None if given is None else retention_of(self.defaults.retention, given, self._refuser())

    def _pipeline(self) -> Pipeline:
        settings = self.values.get("settings")
        more = settings if isinstance(settings, dict) else {}
        refuse = self._refuser("concurrency_config")
        return Pipeline(
            uuid=self.uuid,
            name=str(self.values.get("name") or self.uuid),
            type=self._type(),
            blocks=self._blocks(),
            conditionals=self._guards(BlockType.CONDITIONAL),
            callbacks=self._guards(BlockType.CALLBACK),
            variables=self._variables(),
            limits=policies.limits(self.defaults.limits, self.values.get("concurrency_config"), refuse),
            run_limits=policies.run_limits(self.defaults.run_limits, self.values.get("concurrency_config"), refuse),
            isolation=policies.isolation(
                self.values.get("isolation", more.get("isolation")), self.defaults.isolation, self._refuser()
            ),
            allow_blocks_to_fail=bool(
                self.values.get("allow_blocks_to_fail", more.get("allow_blocks_to_fail", False)),
            ),
            timeout=policies.seconds(self.values.get("timeout", more.get("timeout")), "timeout", self._refuser()),
        )

    def _type(self) -> str:
        given = self.values.get("uuid")
        if given is not None and str(given) != self.uuid:
            told = f"Its uuid is {given}, its folder {self.uuid}: it goes by the folder's name."
            self.faults.warn(("uuid",), told, f"Write `uuid: {self.uuid}`.")
        kind = str(self.values.get("type") or "python")
        if kind in _NOT_RUN:
            self.faults.add(("type",), f"Pipelines of the type {kind} cannot be run.", "Write it as python blocks.")
        elif kind not in _RUN_AS_PYTHON:
            self.faults.add(("type",), f"The pipeline's type {kind} is unknown.", "Write `type: python`.")
        elif kind != "python":
            self.faults.warn(("type",), f"A pipeline of the type {kind} is run as a python one.")
        return kind

    def _variables(self) -> Mapping[str, Any]:
        given = self.values.get("variables")
        if given is None:
            return {}
        if not isinstance(given, dict):
            self.faults.add(("variables",), "variables is not a mapping.", "Write one `name: value` a line.")
            return {}
        kept: dict[str, Any] = {}
        for name, value in given.items():
            try:
                kept[str(name)] = plain(value)
            except NotPlain as error:
                self.faults.add(("variables", str(name)), f"Variable {name}: {error}.", "Write it as text.")
        return kept

    def _blocks(self) -> tuple[Block, ...]:
        nodes = {e.uuid: e for e in self.entries if e.section == "blocks" and e.type not in _APART and e.type}
        known = {entry.uuid for entry in self.entries}
        built = []
        for entry in nodes.values():
            self._check_upstream(entry, known, Severity.ERROR)
            built.append(self._block(entry, tuple(above for above in entry.upstream if above in nodes)))
        return tuple(built)

    def _guards(self, kind: BlockType) -> tuple[Block, ...]:
        """Conditionals or callbacks, wherever they are listed."""
        known = {entry.uuid for entry in self.entries if entry.section == "blocks"}
        built = []
        for entry in self.entries:
            if entry.type is kind:
                self._check_upstream(entry, known, Severity.WARNING)
                built.append(self._block(entry, tuple(above for above in entry.upstream if above in known)))
        return tuple(built)

    def _check_upstream(self, entry: Entry, known: set[str], severity: Severity) -> None:
        for above in entry.upstream:
            if above not in known:
                told = f"Block {entry.uuid} names an unknown upstream block, {above}."
                remedy = "Name a block of this pipeline, or remove it from upstream_blocks."
                self.faults.add(entry.place("upstream_blocks"), told, remedy, severity)

    def _block(self, entry: Entry, upstream: tuple[str, ...]) -> Block:
        values = entry.values
        executor = values.get("executor_config")
        bytes_given = entry.configuration.get("memory_limit")
        if bytes_given is None and isinstance(executor, dict):
            bytes_given = executor.get("memory_limit")
        return Block(
            uuid=entry.uuid,
            type=entry.type or BlockType.CUSTOM,
            language=entry.language,
            name=str(values.get("name") or entry.uuid),
            upstream=upstream,
            configuration=entry.configuration,
            source=self._source(entry),
            retry=policies.retry_policy(
                self.retry, values.get("retry_config"), self._refuser(*entry.place("retry_config"))
            ),
            timeout=policies.seconds(values.get("timeout"), "timeout", self._refuser(*entry.place())),
            memory_limit=policies.memory(bytes_given, self._refuser(*entry.place("configuration"))),
            pools=policies.block_pools(values.get("pool"), self.defaults.pools, self._refuser(*entry.place())),
        )

    def _source(self, entry: Entry) -> Source | None:
        places = candidates(self.root, self.uuid, self._request(entry))
        self.places.update(dict.fromkeys(places))
        try:
            path = find_file(self.root, places)
            if path is not None:
                return pinned(relative(self.root, path), read_text(self.root, path))
        except UnreadableFile as error:
            self.faults.add(_file_place(entry), f"Block {entry.uuid}: {error.message}", error.remedy)
            return None
        content = entry.values.get("content")
        if isinstance(content, str) and content.strip():
            return pinned(f"pipelines/{self.uuid}/{entry.uuid}.{EXTENSIONS[entry.language][0]}", content)
        looked = ", ".join(places)
        self.faults.add(_file_place(entry), f"The file of block {entry.uuid} is missing.", f"Looked for: {looked}.")
        return None

    def _request(self, entry: Entry) -> FileRequest:
        kind = entry.type or BlockType.CUSTOM
        request = FileRequest(entry.uuid, kind, entry.language, entry.configuration)
        replicated = entry.values.get("replicated_block")
        if not replicated:
            return request
        original = self._by_uuid.get(str(replicated))
        if original is None:
            return replace(request, original=FileRequest(str(replicated), kind, entry.language, {}))
        named = FileRequest(original.uuid, original.type or kind, original.language, original.configuration)
        return replace(request, original=named)

    @cached_property
    def _by_uuid(self) -> Mapping[str, Entry]:
        return {entry.uuid: entry for entry in self.entries if entry.section == "blocks"}

    def _check_cycle(self, pipeline: Pipeline) -> None:
        cycle = find_cycle({block.uuid: block.upstream for block in pipeline.blocks})
        if not cycle:
            return
        entry = self._by_uuid[cycle[0]]
        shown = " -> ".join(cycle if len(cycle) <= 12 else (*cycle[:10], "...", cycle[-1]))
        told = f"Its blocks wait for each other in a cycle: {shown}."
        self.faults.add(entry.place("upstream_blocks"), told, "Remove one of these upstream_blocks.")

    def _refuser(self, *place: str | int) -> policies.Refuse:
        def refuse(key: str, message: str, remedy: str) -> None:
            path: Sequence[str | int] = place if place and place[-1] == key else (*place, key)
            self.faults.add(path, message, remedy)

        return refuse


def _file_place(entry: Entry) -> tuple[str | int, ...]:
    for keys in (("configuration", "file_source", "path"), ("configuration", "file_path")):
        value: Any = entry.values
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return entry.place(*keys)
    return entry.place("uuid")
