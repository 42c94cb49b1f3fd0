"""Reads documents in Markdown: the blocks of code in them, and what the text says is to be done with each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`([\w./-]+\.(?:py|sql|yaml))`")


@dataclass(frozen=True)
class Code:
    """One block of code. `path` is the file named last before it; `added` says that it goes to the file's end."""

    language: str
    text: str
    line: int
    path: str | None
    added: bool


def code_in(document: Path) -> Iterator[Code]:
    """Every block of code of a document, in order."""
    text, end = document.read_text(), 0
    for found in _FENCE.finditer(text):
        before = text[end : found.start()].rpartition("\n\n")[2]
        paths = _PATH.findall(before)
        yield Code(
            found[1],
            found[2],
            text.count("\n", 0, found.start()) + 1,
            paths[-1] if paths else None,
            "Add to the end of" in before,
        )
        end = found.end()


def links_in(document: Path) -> list[str]:
    """The targets of a document's links that lie in the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    return [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
