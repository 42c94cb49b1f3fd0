"""Marks: they stand in a rendered text for what is not there, and for values that YAML would not give back as they are.

Whether something missing matters shows only when its place is used; and a password such as `#1` must not be read as a
comment. So a template renders to marks, the text is read as YAML, and then the marks are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from headrace.blocks.safe_yaml import YamlFault, read_yaml
from headrace.domain.errors import HeadraceError

_MARK = "\ue000{kind} {name}\ue001"
_MISSING = re.compile("\ue000(unset|secret) (.*?)\ue001")
_KEPT = re.compile("\ue000kept (.*?)\ue001")
_CERTAIN = re.compile(r"[A-Za-z/][A-Za-z/_.-]*")
"""Texts that need no trial."""


def mark_unset(name: str) -> str:
    """What stands for an environment variable that is not set."""
    return _MARK.format(kind="unset", name=name)


def missing(value: Any) -> Iterator[tuple[str, str]]:
    """Kind (`unset` or `secret`) and name of all that is not there, in all texts within a value."""
    for text in _texts(value):
        for found in _MISSING.finditer(text):
            yield found[1], found[2]


def restored(value: Any) -> Any:
    """The value with what was kept in place of its marks, in all texts within it."""
    if isinstance(value, dict):
        return {key: restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    if not isinstance(value, str):
        return value
    return _KEPT.sub(lambda mark: bytes.fromhex(mark[1]).decode(errors="surrogateescape"), value)


class KeptEnviron(dict[str, str]):
    """Environment variables that come through YAML as they are; each is looked at when a template asks for it."""

    def __getitem__(self, name: str) -> str:
        return _kept(super().__getitem__(name))


def kept_secrets(secret: Callable[[str], str] | None) -> Callable[[str], str]:
    """A look-up of secrets that come through YAML as they are; it gives a mark for one that there is not."""

    def looked_up(name: str) -> str:
        if secret is None:
            return _MARK.format(kind="secret", name=name)
        try:
            return _kept(secret(name))
        except (HeadraceError, LookupError):
            return _MARK.format(kind="secret", name=name)

    return looked_up


class _Kept(str):
    """A value that goes through YAML under a mark; a template that looks into it sees the value."""

    __slots__ = ()

    def __str__(self) -> str:
        return _MARK.format(kind="kept", name=self.encode(errors="surrogateescape").hex())


def _kept(value: str) -> str:
    return value if _CERTAIN.fullmatch(value) or _survives(value) else _Kept(value)


def _survives(value: str) -> bool:
    try:
        read = read_yaml(f"key: {value}").value["key"]
    except (YamlFault, TypeError):
        return False
    if value == "" or isinstance(read, bool | dict):
        return True  # nothing at all, `true`, JSON: they mean what YAML says
    quotable = not set(value) & set("\\\"'")  # or else it means something else where the file puts it in quotes
    return quotable and isinstance(read, str | int | float) and str(read) == value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
