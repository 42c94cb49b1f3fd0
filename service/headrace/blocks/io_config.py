"""Reads connection profiles from io_config.yaml, in both of Mage's formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from headrace.blocks.marks import KeptEnviron, kept_secrets, mark_unset, missing, restored
from headrace.blocks.safe_yaml import MOST_BYTES, Document, YamlFault, read_yaml
from headrace.blocks.templating import TemplateError, UnsetVariable, render
from headrace.domain.errors import HeadraceError

VERBOSE: Mapping[str, str] = {
    "PostgreSQL": "POSTGRES_",
    "AWS": "AWS_",
    "Redshift": "REDSHIFT_",
    "Snowflake": "SNOWFLAKE_",
    "MySQL": "MYSQL_",
    "Microsoft SQL Server": "MSSQL_",
    "ClickHouse": "CLICKHOUSE_",
    "Duck DB": "DUCKDB_",
    "Trino": "TRINO_",
}
"""Headers of the verbose format, and how their keys begin in the flat one."""

RENAMED: Mapping[str, str] = {"POSTGRES_DATABASE": "POSTGRES_DBNAME", "REDSHIFT_DATABASE": "REDSHIFT_DBNAME"}

_SECTION = re.compile(r"""^(?:"([^"]*)"|'([^']*)'|([^\s#{}'"%][^:]*?))\s*:(?:\s|$)""")


class ConnectionFault(HeadraceError):
    """A connection profile cannot be read. `line` counts from 1 in `file`."""

    code = "connection-profile"

    def __init__(self, message: str, *, file: str, line: int | None = None, key: str = "", remedy: str = "") -> None:
        placed = message if line is None else f"{Path(file).name}, line {line}: {message}"
        super().__init__(placed, remedy=remedy)
        self.told = message
        """The message without the place."""
        self.file = file
        self.line = line
        self.key = key


class Profile(dict[str, Any]):
    """The settings of one profile. Those that need what is not set raise ConnectionFault when they are read."""

    def __init__(self, settings: Mapping[str, Any], lacking: Mapping[str, ConnectionFault]) -> None:
        super().__init__(settings)
        self.lacking = lacking
        """Why a setting cannot be read, by its name."""

    def __missing__(self, key: str) -> Any:
        if fault := self.lacking.get(key):
            raise fault.with_traceback(None)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self.lacking

    def get(self, key: str, default: Any = None) -> Any:
        """A setting's value, or `default` where it is not there."""
        if key in self.lacking:
            return self[key]
        return super().get(key, default)


def read_profile(
    path: Path, profile: str, environ: Mapping[str, str], secret: Callable[[str], str] | None = None
) -> Profile:
    """The settings of one profile under flat names such as POSTGRES_HOST.

    An unset variable is an error only when the setting that needs it is read. Raises ConnectionFault with file, line
    and key.
    """
    text = _text(path)
    document = _document(path, text, profile, environ, secret)
    profiles = document.value or {}
    if not isinstance(profiles, dict):
        raise ConnectionFault(f"{path.name} is not a mapping of profiles.", file=str(path), line=1)
    if profile not in profiles:
        named = [str(name) for name, values in profiles.items() if isinstance(values, dict)]
        known = ", ".join(named or _sections(text)) or "none"
        raise ConnectionFault(
            f"{path.name} has no profile {profile}.", file=str(path), key=profile, remedy=f"Its profiles: {known}."
        )
    return _settings(path, text, document, profile)


def _settings(path: Path, text: str, document: Document, profile: str) -> Profile:
    values = document.value[profile]
    if values is None:
        return Profile({}, {})
    if not isinstance(values, dict):
        raise ConnectionFault(
            f"Profile {profile} in {path.name} is not a mapping.",
            file=str(path),
            line=document.line(profile),
            key=profile,
            remedy="Write one `KEY: value` a line under it.",
        )
    settings: dict[str, Any] = restored(_flat(values))
    lacking = {
        key: _missing(path, text, profile, key, kind=kind, name=name)
        for key, value in settings.items()
        for kind, name in islice(missing(value), 1)
    }
    return Profile({key: value for key, value in settings.items() if key not in lacking}, lacking)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConnectionFault(f"{path} has more than {MOST_BYTES} bytes.", file=str(path))
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConnectionFault(
            f"{path} cannot be read: {error.strerror}.", file=str(path), remedy="`headrace init` makes one."
        ) from error
    except UnicodeDecodeError as error:
        raise ConnectionFault(f"{path} is not UTF-8 text: {error}.", file=str(path)) from error


def _document(
    path: Path, text: str, profile: str, environ: Mapping[str, str], secret: Callable[[str], str] | None
) -> Document:
    """The whole file, rendered; or, where another profile's template fails, only what this profile needs of it."""
    try:
        return _rendered(path, text, environ, secret)
    except ConnectionFault:
        own = _only(text, profile)
        if own == text:
            raise
        return _rendered(path, own, environ, secret)


def _rendered(path: Path, text: str, environ: Mapping[str, str], secret: Callable[[str], str] | None) -> Document:
    try:
        rendered = render(text, environ=KeptEnviron(environ), secret=kept_secrets(secret), unset=mark_unset)
        return read_yaml(rendered)
    except (TemplateError, YamlFault) as error:
        raise ConnectionFault(
            error.message if error.line else f"{path.name}: {error.message}",
            file=str(path),
            line=error.line,
            key=error.name if isinstance(error, UnsetVariable) else "",
            remedy=error.remedy,
        ) from error


def _sections(text: str) -> list[str]:
    """The profiles that a text seems to have, where it cannot be rendered; `version: 0.1.1` is none."""
    found = [section for line in text.splitlines() if (section := _SECTION.match(line))]
    return [
        next(filter(None, section.groups()))
        for section in found
        if section.string[section.end() :].strip()[:1] in ("", "#", "&", "{")
    ]


def _only(text: str, profile: str) -> str:
    """The text with the sections of other profiles made blank, its lines still where they were."""
    kept, keep = [], True
    for line in text.splitlines():
        if section := _SECTION.match(line):
            keep = profile in section.groups()
        kept.append(line if keep else "")
    return "\n".join(kept)


def _flat(values: Mapping[Any, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        start = VERBOSE.get(str(key))
        if start is None or not isinstance(value, dict):
            flat[str(key)] = value
            continue
        names = ((start + str(name).upper().removeprefix(start), item) for name, item in value.items())
        flat |= {RENAMED.get(name, name): item for name, item in names}
    return flat


def _missing(path: Path, text: str, profile: str, key: str, *, kind: str, name: str) -> ConnectionFault:
    line = _line_of(text, profile, name)
    if kind == "secret":
        return ConnectionFault(
            f"There is no secret {name}. Profile {profile} in {path.name} needs it for {key}.",
            file=str(path), line=line, key=key, remedy="Set the secret, or use env_var.",
        )  # fmt: skip
    told = UnsetVariable(name)
    return ConnectionFault(
        f"{told.message} Profile {profile} in {path.name} needs it for {key}.",
        file=str(path), line=line, key=key, remedy=told.remedy,
    )  # fmt: skip


def _line_of(text: str, profile: str, name: str) -> int | None:
    """The line in the section of `profile` whose template asks for `name`."""
    asked = re.compile(rf"""\(\s*['"]{re.escape(name)}['"]""")
    for number, line in enumerate(_only(text, profile).splitlines(), start=1):
        if asked.search(line) and not line.lstrip().startswith("#"):
            return number
    return None
