"""A project's files: read safely, never from outside of its folder, and where the file of a block is looked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import BlockLanguage, BlockType, Source

MOST_BYTES = 5_000_000
EXTENSIONS: Mapping[BlockLanguage, tuple[str, ...]] = {
    BlockLanguage.PYTHON: ("py",),
    BlockLanguage.SQL: ("sql",),
    BlockLanguage.R: ("r", "R"),
    BlockLanguage.YAML: ("yaml", "yml"),
    BlockLanguage.MARKDOWN: ("md",),
}


class UnreadableFile(HeadraceError):
    """A file of a project is outside of its folder, too large, or not text."""

    code = "unreadable-file"


@dataclass(frozen=True)
class FileRequest:
    """What is needed to look for a block's file."""

    uuid: str
    type: BlockType
    language: BlockLanguage
    configuration: Mapping[str, Any]
    original: FileRequest | None = None
    """The block that this one replicates."""


def candidates(root: Path, pipeline: str, wanted: FileRequest) -> tuple[str, ...]:
    """Where a block's file may be, relative to the project's folder, in the order of looking.

    The replicated block's file, `configuration.file_source.path`, `configuration.file_path`, the folder of the block's
    type, beside the pipeline's metadata.yaml.
    """
    return tuple(dict.fromkeys(_candidates(root, pipeline, wanted)))


def _candidates(root: Path, pipeline: str, wanted: FileRequest) -> Iterator[str]:
    if wanted.original is not None:
        yield from _candidates(root, pipeline, wanted.original)
    for path in _configured(wanted.configuration):
        yield path
        first, _, rest = path.partition("/")
        if rest and first == root.name:
            yield rest
    folder = "custom" if wanted.type is BlockType.CUSTOM else f"{wanted.type}s"
    for extension in EXTENSIONS[wanted.language]:
        yield f"{folder}/{wanted.uuid}.{extension}"
        yield f"pipelines/{pipeline}/{wanted.uuid}.{extension}"


def _configured(configuration: Mapping[str, Any]) -> Iterator[str]:
    source = configuration.get("file_source")
    paths = (source.get("path") if isinstance(source, dict) else None, configuration.get("file_path"))
    yield from (path for path in paths if isinstance(path, str) and path)


def find_file(root: Path, places: tuple[str, ...]) -> Path | None:
    """The first place that holds a file. Raises UnreadableFile where a place on the way leads out of the project."""
    for place in places:
        if _surely_missing(root, place):
            continue
        path = inside(root, place)
        if path.is_file():
            return path
    return None


def _surely_missing(root: Path, place: str) -> bool:
    """Whether nothing is there; one call, where `inside` makes several. Leading out of the project is told anyway."""
    leads_out = place.startswith("/") or ".." in place
    return not leads_out and "\0" not in place and not os.path.lexists(os.path.join(root, place))


def inside(root: Path, place: str) -> Path:
    """The real path of a place in the project. Raises UnreadableFile where it leads out, by `..`, `/` or a link."""
    try:
        real = (root / place).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UnreadableFile(f"{place!r} is not a path that can be looked up: {error}.") from error
    if not real.is_relative_to(os.path.realpath(root)):
        raise UnreadableFile(
            f"{place} leads out of the project's folder.", remedy="Copy the file into the project and name it there."
        )
    return real


def read_text(root: Path, path: Path) -> str:
    """A file's text. Raises UnreadableFile where it is too large, no UTF-8, or cannot be opened."""
    name = relative(root, path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UnreadableFile(f"{name} has more than {MOST_BYTES} bytes.", remedy="Keep data out of source files.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{name} is not UTF-8 text.", remedy="Save it as UTF-8.") from error
    if "\0" in text:
        raise UnreadableFile(f"{name} has a NUL character in it.", remedy="Save it as plain UTF-8 text.")
    return text


def pinned(path: str, text: str) -> Source:
    """A source with its hash."""
    return Source(path, text, hashlib.sha256(text.encode()).hexdigest())


def relative(root: Path, path: Path) -> str:
    """A path as faults and sources name it: relative to the project, with forward slashes."""
    for base in (str(root), os.path.realpath(root)):
        if str(path).startswith(base + os.sep):
            return str(PurePosixPath(str(path)[len(base) + 1 :]))
    return str(path)
