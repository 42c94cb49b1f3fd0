"""Reads connection profiles from io_config.yaml, in both of Mage's formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from headrace.blocks.templating import TemplateError, UnsetVariable, render
from headrace.domain.errors import HeadraceError

VERBOSE = {
    "PostgreSQL": {
        "database": "POSTGRES_DBNAME",
        "host": "POSTGRES_HOST",
        "password": "POSTGRES_PASSWORD",
        "port": "POSTGRES_PORT",
        "schema": "POSTGRES_SCHEMA",
        "user": "POSTGRES_USER",
        "connect_timeout": "POSTGRES_CONNECT_TIMEOUT",
    },
}
"""Headers of the verbose format, and what their keys are called in the flat one."""

UNSET = "\ue000unset:{name}\ue001"
"""Stands for an unset variable until it is known whether a used profile needs it."""

_UNSET = re.compile("\ue000unset:(.*?)\ue001")


class ConnectionFault(HeadraceError):
    """A connection profile cannot be read."""

    code = "connection-profile"

    def __init__(self, message: str, *, file: str, line: int | None = None, key: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.file = file
        self.line = line
        self.key = key


def read_profile(
    path: Path, profile: str, environ: Mapping[str, str], secret: Callable[[str], str] | None = None
) -> Mapping[str, Any]:
    """The settings of one profile under flat names such as POSTGRES_HOST.

    An unset variable is an error where this profile uses it, and does no harm in another one. Raises ConnectionFault
    with file, line and key.
    """
    text = _text(path)
    profiles = _parsed(path, text, environ, secret)
    if profile not in profiles:
        known = ", ".join(map(str, profiles)) or "none"
        raise ConnectionFault(
            f"{path.name} has no profile {profile}.", file=str(path), key=profile, remedy=f"It has: {known}."
        )
    values = profiles[profile]
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConnectionFault(
            f"Profile {profile} in {path.name} is not a mapping.", file=str(path), line=_line(text, profile),
            key=profile, remedy="Write one `KEY: value` a line under it.",
        )  # fmt: skip
    flat = _flat(values)
    for key, value in flat.items():
        _check_set(path, text, profile, key, value)
    return flat


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConnectionFault(
            f"{path} cannot be read: {error.strerror}.",
            file=str(path),
            remedy="`headrace init` makes one to start from.",
        ) from error


def _parsed(path: Path, text: str, environ: Mapping[str, str], secret: Callable[[str], str] | None) -> dict[Any, Any]:
    try:
        rendered = render(text, environ=_Marking(environ), secret=secret)
        value = yaml.safe_load(rendered)
    except TemplateError as error:
        raise ConnectionFault(str(error), file=str(path), line=error.line) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise ConnectionFault(f"{path.name} is not valid YAML: {error}", file=str(path), line=line) from error
    if value is not None and not isinstance(value, dict):
        raise ConnectionFault(f"{path.name} is not a mapping of profiles.", file=str(path), line=1)
    return value or {}


class _Marking(dict[str, str]):
    """An environment in which a variable that is not set has a mark for its value."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return UNSET.format(name=name)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in VERBOSE and isinstance(value, dict):
            flat |= {VERBOSE[key].get(str(name), str(name)): item for name, item in value.items()}
        else:
            flat[str(key)] = value
    return flat


def _check_set(path: Path, text: str, profile: str, key: str, value: Any) -> None:
    found = _UNSET.search(value) if isinstance(value, str) else None
    if found is None:
        return
    told = UnsetVariable(found[1])
    raise ConnectionFault(
        f"{told.message} Profile {profile} in {path.name} needs it for {key}.",
        file=str(path), line=_line(text, found[1], after=_line(text, f"{profile}:")), key=key, remedy=told.remedy,
    )  # fmt: skip


def _line(text: str, word: str, after: int | None = None) -> int | None:
    for number, line in enumerate(text.splitlines(), start=1):
        if number >= (after or 0) and word in line:
            return number
    return None
