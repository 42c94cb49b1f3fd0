"""Names close to one that is not known: what a person probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_LEAST = 0.6
_NEAR_BEST = 0.1
_LISTED = 12


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the closest of the known names, and others about as close; nothing where none is."""
    scores = {candidate: _likeness(name, candidate) for candidate in known}
    best = max(scores.values(), default=0.0)
    if best < _LEAST:
        return ""
    close = sorted((one for one in scores if scores[one] > best - _NEAR_BEST), key=lambda one: -scores[one])
    return f"Did you mean {' or '.join(close[:3])}?"


def _likeness(name: str, other: str) -> float:
    return SequenceMatcher(None, name.casefold(), other.casefold()).ratio()


def listed(names: Iterable[str]) -> str:
    """Names in their order, the first dozen of many, or `none`."""
    every = list(names)
    rest = len(every) - _LISTED
    return ", ".join(every[:_LISTED]) + (f" and {rest} more" if rest > 0 else "") or "none"


def suggestion(name: str, known: Iterable[str], whose: str) -> str:
    """What to do about an unknown name: the close ones, then a list of all (`whose` begins it: "Its blocks")."""
    every = list(known)
    return f"{did_you_mean(name, every)} {whose}: {listed(every)}.".lstrip()
