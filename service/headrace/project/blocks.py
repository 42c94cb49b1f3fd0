"""Reads the block entries of a pipeline's metadata.yaml: what each one says, before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.blocks.safe_yaml import Document
from headrace.domain.pipeline import NEVER_RUN, BlockLanguage, BlockType
from headrace.project.faults import Fault, Severity
from headrace.project.plain import NotPlain, plain

SECTIONS: Mapping[str, BlockType | None] = {
    "blocks": None,
    "conditionals": BlockType.CONDITIONAL,
    "callbacks": BlockType.CALLBACK,
}
"""The lists of blocks in a metadata.yaml, and the type of those that name none."""


_PYTHON_ONLY = frozenset({BlockType.CONDITIONAL, BlockType.CALLBACK})


@dataclass
class FaultList:
    """Collects the faults of one YAML file, each at the line of the key that it is about."""

    file: str
    document: Document
    found: list[Fault] = field(default_factory=list)

    def add(
        self, place: Sequence[str | int], message: str, remedy: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        """Record a fault; `place` is the path of keys and indexes to its key."""
        key = next((str(step) for step in reversed(place) if isinstance(step, str)), "")
        line = self.document.line(*place) or 1  # an empty file has no node that has one
        self.found.append(Fault(self.file, line, key, message, remedy, severity))

    def warn(self, place: Sequence[str | int], message: str, remedy: str = "") -> None:
        """Record a fault that keeps nothing from running."""
        self.add(place, message, remedy, Severity.WARNING)


@dataclass(frozen=True)
class Entry:
    """One block as its metadata.yaml tells of it. `type` is None where it names one that we do not know."""

    section: str
    index: int
    uuid: str
    type: BlockType | None
    language: BlockLanguage
    upstream: tuple[str, ...]
    configuration: Mapping[str, Any]
    values: Mapping[str, Any]

    def place(self, *keys: str) -> tuple[str | int, ...]:
        """The path to a key of this entry."""
        return (self.section, self.index, *keys)


def read_entries(values: Mapping[str, Any], faults: FaultList) -> list[Entry]:
    """All entries of all sections, in order; those that cannot be read, and repeated ones, are faults and left out."""
    entries: list[Entry] = []
    for section in SECTIONS:
        seen: dict[str, Entry] = {}
        for index, value in _listed(values.get(section), section, faults):
            entry = _entry(section, index, value, faults)
            if entry is None:
                continue
            if entry.uuid in seen:
                first = faults.document.line(*seen[entry.uuid].place("uuid"))
                message = f"Two {section} have the uuid {entry.uuid}; the first is in line {first}."
                faults.add(entry.place("uuid"), message, "Rename one of them.")
                continue
            seen[entry.uuid] = entry
        entries.extend(seen.values())
    return entries


def _listed(value: Any, section: str, faults: FaultList) -> Iterator[tuple[int, Any]]:
    if value is None:
        return
    if isinstance(value, list):
        yield from enumerate(value)
        return
    faults.add((section,), f"{section} is not a list.", "Begin each block with `- `.")


def _entry(section: str, index: int, value: Any, faults: FaultList) -> Entry | None:
    if not isinstance(value, dict):
        faults.add((section, index), f"Item {index + 1} of {section} is not a block.", "Write `uuid:` and `type:`.")
        return None
    uuid = str(value.get("uuid") or clean_name(value.get("name")))
    if not uuid:
        faults.add((section, index), f"Item {index + 1} of {section} has no uuid.", "Give it a `uuid:`.")
        return None
    kind = _type(section, index, uuid, value.get("type"), faults)
    return Entry(
        section=section,
        index=index,
        uuid=uuid,
        type=kind,
        language=_language(section, index, uuid, value.get("language"), faults, kind),
        upstream=_upstream(section, index, uuid, value.get("upstream_blocks"), faults),
        configuration=_configuration(section, index, uuid, value.get("configuration"), faults),
        values=value,
    )


def clean_name(name: Any) -> str:
    """The uuid that Mage makes of a block's name."""
    cleaned = re.sub(r"[^\w/]+", "_", str(name or "").strip()).lower()
    return f"letter_{cleaned}" if cleaned[:1].isdigit() else cleaned


def _type(section: str, index: int, uuid: str, value: Any, faults: FaultList) -> BlockType | None:
    if value is None and SECTIONS[section] is not None:
        return SECTIONS[section]
    if value in set(BlockType):
        return BlockType(value)
    told = f"Block {uuid} has no type." if value is None else f"Block {uuid} is of the type {value}, which is unknown."
    faults.add((section, index, "type"), told, f"Types: {', '.join(BlockType)}.")
    return None


def _language(
    section: str, index: int, uuid: str, value: Any, faults: FaultList, kind: BlockType | None
) -> BlockLanguage:
    if value is None:
        return BlockLanguage.PYTHON
    if value in set(BlockLanguage):
        runs = (BlockLanguage.PYTHON,) if kind in _PYTHON_ONLY else (BlockLanguage.PYTHON, BlockLanguage.SQL)
        if kind is not None and kind not in NEVER_RUN and value not in runs:
            told = f"Block {uuid} is in the language {value}: a {kind} of it cannot run in this version."
            faults.add((section, index, "language"), told, f"Write it in {' or '.join(runs)}.")
        return BlockLanguage(value)
    remedy = f"Languages: {', '.join(BlockLanguage)}."
    faults.add((section, index, "language"), f"Block {uuid} is in the language {value}, which is unknown.", remedy)
    return BlockLanguage.PYTHON


def _upstream(section: str, index: int, uuid: str, value: Any, faults: FaultList) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(dict.fromkeys(map(str, value)))
    remedy = "Begin each uuid with `- `."
    faults.add((section, index, "upstream_blocks"), f"upstream_blocks of block {uuid} is not a list.", remedy)
    return ()


def _configuration(section: str, index: int, uuid: str, value: Any, faults: FaultList) -> Mapping[str, Any]:
    if value is None:
        return {}
    place = (section, index, "configuration")
    if not isinstance(value, dict):
        faults.add(place, f"configuration of block {uuid} is not a mapping.", "Write one `key: value` a line.")
        return {}
    try:
        kept: dict[str, Any] = plain(value)
    except NotPlain as error:
        faults.add(place, f"configuration of block {uuid}: {error}.", "Write it as text.")
        return {}
    return kept
