"""Finds the trigger that somebody names: by `pipeline/name`, or by its name alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from headrace.domain.errors import HeadraceError
from headrace.domain.suggesting import suggestion


class UnknownTrigger(HeadraceError):
    """No trigger, or more than one, has this name or number."""

    code = "unknown-trigger"


class Named(Protocol):
    """What has a pipeline and a name."""

    @property
    def pipeline(self) -> str: ...

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def fitting(name: str, triggers: Iterable[T]) -> T | None:
    """The one that `name`, or `pipeline/name`, names; None where none does. Raises UnknownTrigger for several."""
    found = [each for each in triggers if name in (each.name, f"{each.pipeline}/{each.name}")]
    whole = [each for each in found if name == f"{each.pipeline}/{each.name}"]
    if whole or len(found) == 1:
        return (whole or found)[0]
    if found:
        named = ", ".join(f"{each.pipeline}/{each.name}" for each in found)
        raise UnknownTrigger(f"Several triggers have the name {name}.", remedy=f"Write one of: {named}.")
    return None


def unknown(name: str, triggers: Iterable[Named]) -> UnknownTrigger:
    """The error for a name that no trigger has; it tells those that are near."""
    known = [f"{each.pipeline}/{each.name}" if "/" in name else each.name for each in triggers]
    return UnknownTrigger(f"There is no trigger {name}.", remedy=suggestion(name, known, "The project's triggers"))
