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
    """JSON values: a run gets them as kwargs['event']. Dates and times become ISO 8601; UUIDs and Decimals, text."""
    key: str | None = None
    occurred_at: datetime | None = None
    """When it happened, with a time zone; None for the moment at which it is accepted."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What is told about it beside its payload, such as a message's topic: for a trigger's filter and variables."""
    cursor: Any = None
    """Where the sensor goes on once this event is committed: JSON values or a datetime; None leaves it where it is."""
    execution_date: datetime | None = None
    """The execution_date of the runs made of it, with a time zone; None for the moment at which it is accepted."""

    def __post_init__(self) -> None:
        for name in ("occurred_at", "execution_date"):
            time = getattr(self, name)
            if time is not None and time.tzinfo is None:
                raise ValueError(f"An Event's {name} needs a time zone: datetime.now(timezone.utc), for one.")
