"""Reads .env files: `KEY=VALUE` lines with comments, quotes and `export`."""

from __future__ import annotations

import re

from headrace.project.faults import Fault, Severity

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*?)\s*$")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$')
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?$")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(text: str, file: str = ".env") -> tuple[dict[str, str], tuple[Fault, ...]]:
    """The variables of a .env file's text, and a warning for each line that is none."""
    values: dict[str, str] = {}
    faults: list[Fault] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        value = None if found is None else _value(found[2])
        if found is None or value is None:
            faults.append(Fault(file, number, "", "This line is not KEY=VALUE.", "It is left out.", Severity.WARNING))
            continue
        values[found[1]] = value
    return values, tuple(faults)


def _value(text: str) -> str | None:
    if text.startswith('"'):
        double = _DOUBLE.match(text)
        return None if double is None else re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), double[1])
    if text.startswith("'"):
        single = _SINGLE.match(text)
        return None if single is None else single[1]
    return re.sub(r"(^|\s)#.*$", "", text).rstrip()
