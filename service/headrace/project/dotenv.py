"""Reads a project's .env file: KEY=VALUE lines, as docker compose does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$""")


def read_environ(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a project: its .env file gives what the process's environment lacks."""
    path = root / ".env"
    if not path.is_file():
        return dict(environ)
    return {**parse_dotenv(path.read_text()), **environ}


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables of a .env text; lines that are none are passed over."""
    found = (_LINE.match(line) for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {match[1]: _value(match[2]) for match in found if match}


def _value(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return re.split(r"\s+#", text, maxsplit=1)[0]
