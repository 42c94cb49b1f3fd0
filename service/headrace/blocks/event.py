"""The event that a sensor of an author's making gives: what happened, and the key under which it counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Two events of one source with the same `key` are one; None means always a new one."""

    payload: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: a run gets them as kwargs['event']."""
    key: str | None = None
    occurred_at: datetime | None = None
    """When it happened, with a time zone; None for the moment at which it is accepted."""

    def __post_init__(self) -> None:
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise ValueError("An Event's occurred_at needs a time zone: datetime.now(timezone.utc), for one.")
