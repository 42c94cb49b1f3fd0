"""Events as values: what happened, and what became of it for each trigger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from headrace.domain.errors import HeadraceError


class NotAnEvent(HeadraceError):
    """Something was to be accepted as an event that has no source or no key."""

    code = "not-an-event"


class Fate(StrEnum):
    """What became of an event for one trigger. An event without any fate matched no trigger."""

    RUN = "run"
    """It made a run, alone or in a batch."""
    FILTERED = "filtered"
    """The trigger's filter did not want it."""
    SKIPPED = "skipped"
    """It was wanted, but the trigger's limits or its dedup key left it out."""
    WAITING = "waiting"
    """It waits for its batch to be full or due, or for its backfill to be made."""
    BACKFILL = "backfill"
    """It made a backfill, which makes runs of its own."""
    DEAD = "dead"
    """No run could be made of it: the reason tells why. A replay tries again."""


FATE_MOVES: Mapping[Fate, frozenset[Fate]] = {
    Fate.WAITING: frozenset({Fate.RUN, Fate.BACKFILL, Fate.DEAD, Fate.SKIPPED}),
    Fate.RUN: frozenset(),
    Fate.BACKFILL: frozenset(),
    Fate.FILTERED: frozenset(),
    Fate.SKIPPED: frozenset(),
    Fate.DEAD: frozenset(),
}
"""Which fate may follow which; all but waiting are final."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened, not yet accepted. Two of one `key` from one source of a project are one."""

    project_id: int
    source: str
    """What it came from: `webhook:<path>`, `schedule:<pipeline>/<name>`, `sensor:<name>`, `run:<pipeline>`, …"""
    kind: str
    """What sort of thing happened there, in the sender's words: `push`, `slot`, `completed`."""
    key: str
    payload: Any = None
    """JSON values; a run gets it as kwargs['event']."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """The request as it came, before parsing."""
    occurred_at: datetime | None = None
    """When it happened, with a time zone; None for the moment at which it is accepted."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Handed to every run made of it, over the trigger's own variables."""
    execution_date: datetime | None = None
    replay_of: int | None = None

    def __post_init__(self) -> None:
        if not self.source or not self.key:
            raise NotAnEvent(f"An event needs a source and a key; this one has {self.source!r} and {self.key!r}.")


@dataclass(frozen=True, slots=True)
class FateOf:
    """What became of an event for one trigger, or (trigger None) for a start that asked for its run itself."""

    trigger: int | None
    fate: Fate | str
    """A word that is no Fate is a newer version's."""
    run: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed event. `is_new` is false where an earlier one had the same key: then all is told of that one."""

    event: int
    is_new: bool
    fates: tuple[FateOf, ...] = ()

    @property
    def runs(self) -> tuple[int, ...]:
        """The runs that it made."""
        return tuple(fate.run for fate in self.fates if fate.run is not None)
