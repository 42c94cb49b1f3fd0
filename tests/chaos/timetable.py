"""Schedules under a storm: which slots there must be, each of them one event and one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.triggers import write_triggers

PIPELINE = "timed"
GRID = 6
"""Seconds of which every schedule's step is a part, so that all of them have a slot at the end."""


@dataclass(frozen=True, slots=True)
class Line:
    """One schedule of the timetable, with a slot every `step` seconds."""

    expression: str
    step: int
    more: Mapping[str, Any]
    whole: bool
    """Whether no slot may be missing, whatever was down; else only the last one must be there."""


ALL = {"catch_up": {"policy": "all", "most": 10_000}}
LINES = {
    "each_second": Line("* * * * * *", 1, ALL, True),
    "spread": Line("every 2 seconds", 2, {"jitter": 1, **ALL}, True),
    "last": Line("*/3 * * * * *", 3, {"catch_up": "latest"}, False),
}


@dataclass(frozen=True, slots=True)
class Timetable:
    """The schedules of a storm, with their first and their last slot."""

    begin: datetime
    end: datetime

    @classmethod
    def of(cls, now: datetime, seconds: float) -> Timetable:
        """From the next moment at which every schedule has a slot, for about so many seconds."""
        begin = datetime.fromtimestamp((now.timestamp() // GRID + 1) * GRID, UTC)
        return cls(begin, begin + timedelta(seconds=max(math.floor(seconds / GRID), 1) * GRID))

    def write(self, root: Path) -> None:
        """Have the project's services follow it from now on."""
        bounds = {"start_time": self.begin.isoformat(), "end_time": self.end.isoformat()}
        enabled = {"last_enabled_at": (self.begin - timedelta(seconds=1)).isoformat()}
        write_triggers(root, PIPELINE, [
            {"name": name, "schedule_type": "time", "schedule_interval": line.expression, **bounds, **enabled, **line.more}
            for name, line in LINES.items()
        ])  # fmt: skip

    def slots(self, name: str) -> list[datetime]:
        """The slots of one schedule."""
        step = LINES[name].step
        count = int((self.end - self.begin).total_seconds()) // step + 1
        return [self.begin + timedelta(seconds=step * number) for number in range(count)]

    async def is_over(self, connection: asyncpg.Connection[Any]) -> bool:
        """Whether the last slot of every schedule is seen to, and none is to be made up for."""
        reached = await connection.fetchval(
            "SELECT count(*) FROM headrace.schedule_state WHERE source LIKE $1 AND last_slot >= $2",
            f"schedule:{PIPELINE}/%", self.end,
        )  # fmt: skip
        return bool(
            reached == len(LINES) and not await connection.fetchval("SELECT count(*) FROM headrace.catching_up")
        )

    async def faults(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """Slots that are missing, double, not on the timetable, or have not made one run."""
        return [fault for name in LINES for fault in await self._line_faults(connection, name)]

    async def _line_faults(self, connection: asyncpg.Connection[Any], name: str) -> list[str]:
        rows = await connection.fetch(SLOTS, f"schedule:{PIPELINE}/{name}")
        wanted, times = set(self.slots(name)), [row["occurred_at"] for row in rows]
        found = [f"a slot of {name} is missing: {slot}" for slot in sorted(self._needed(name) - set(times))]
        found += [f"{name} has no such slot: {slot}" for slot in sorted(set(times) - wanted)]
        found += [
            f"a slot of {name} is {times.count(slot)} events: {slot}" for slot in set(times) if times.count(slot) > 1
        ]
        return found + [
            f"a slot of {name} has the fates {list(row['fates'])}: {row['occurred_at']}"
            for row in rows
            if row["fates"] != ["run"]
        ]

    def _needed(self, name: str) -> set[datetime]:
        return set(self.slots(name)) if LINES[name].whole else {self.end}


SLOTS = """
SELECT e.id, e.occurred_at, array_agg(f.fate) AS fates
FROM headrace.event e LEFT JOIN headrace.event_fate f ON f.event_id = e.id
WHERE e.source = $1 GROUP BY e.id ORDER BY e.id
"""
