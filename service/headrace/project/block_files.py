"""Finds and reads the file of a block: where Mage looks, then beside its pipeline's metadata.yaml."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.domain.pipeline import BlockLanguage, BlockType, Source
from headrace.project.faults import Fault, ProjectFault

EXTENSIONS = {
    BlockLanguage.PYTHON: "py",
    BlockLanguage.SQL: "sql",
    BlockLanguage.R: "r",
    BlockLanguage.YAML: "yaml",
    BlockLanguage.MARKDOWN: "md",
}
FOLDERS = {BlockType.CUSTOM: "custom"}
"""Folders that are not just the type with an s."""


def block_source(
    root: Path, pipeline: str, raw: Mapping[str, Any], type_: BlockType, language: BlockLanguage, place: Fault
) -> Source:
    """The source of a block. Raises ProjectFault at `place`, with every path that was tried, when there is none."""
    if raw.get("content"):
        return _source(f"pipelines/{pipeline}/{raw['uuid']}", str(raw["content"]))
    tried = _candidates(pipeline, raw, type_, language)
    for candidate in tried:
        path = _inside(root, candidate, place)
        if path.is_file():
            return _source(path.relative_to(root.resolve()).as_posix(), _text(path, place))
    raise ProjectFault([_at(place, f"block {raw['uuid']}: its file is missing.", f"Looked for {', '.join(tried)}.")])


def _candidates(pipeline: str, raw: Mapping[str, Any], type_: BlockType, language: BlockLanguage) -> list[str]:
    configuration = raw.get("configuration") or {}
    named = [(configuration.get("file_source") or {}).get("path"), configuration.get("file_path")]
    uuid = raw.get("replicated_block") or raw["uuid"]
    extension = EXTENSIONS[language]
    folder = FOLDERS.get(type_, f"{type_}s")
    usual = [f"{folder}/{uuid}.{extension}", f"pipelines/{pipeline}/{uuid}.{extension}"]
    if type_ is BlockType.SENSOR:
        usual.append(f"sensors/{uuid}.{extension}")
    return list(dict.fromkeys([str(path) for path in named if path] + usual))


def _inside(root: Path, candidate: str, place: Fault) -> Path:
    path = (root / candidate).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ProjectFault([_at(place, f"{candidate} lies outside the project.", "Move the file into the project.")])
    return path


def _text(path: Path, place: Fault) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectFault([_at(place, f"{path.name} cannot be read: {error}.", "")]) from error


def _source(path: str, text: str) -> Source:
    return Source(path, text, hashlib.sha256(text.encode()).hexdigest())


def _at(place: Fault, message: str, remedy: str) -> Fault:
    return Fault(place.file, place.line, place.key, message, remedy)
