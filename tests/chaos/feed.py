"""What sensors look at in a storm: a file that grows and a queue of messages; each position must be one event."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.sensors import sensor, write_sensor
from tests.support.triggers import write_triggers

PIPELINE, TOGETHER = "sensed", "sensed_together"
PACE = 1.5
"""Positions a second."""

POLLED = '''
import random
from headrace import Event, sensor

@sensor(interval=0.2)
def polled(cursor, feed, **kwargs):
    """Has no keys: only the cursor keeps an event from being told twice."""
    if random.random() < 0.05:
        raise RuntimeError("bad luck")
    last = cursor or 0
    lines = open(feed).read().split("\\n")[last:-1]
    return [Event({"n": int(line)}, cursor=int(line)) for line in lines[:20]]
'''
STREAMED = '''
import asyncio
from headrace import Event, sensor

@sensor
async def streamed(cursor, feed, **kwargs):
    """Has no keys either, and remembers in memory where it is for as long as it lives."""
    last = cursor or 0
    while True:
        for line in open(feed).read().split("\\n")[last:-1]:
            last = int(line)
            yield Event({"n": last}, cursor=last)
        await asyncio.sleep(0.05)
'''
QUEUED = '''
import pathlib
from headrace import Event, sensor

@sensor(interval=0.2)
def queued(queue, **kwargs):
    """Has no cursor: a message is there until its event is committed, and its key tells a second look."""
    for message in sorted(pathlib.Path(queue).glob("[0-9]*")):
        yield Event({"n": int(message.name)}, key=message.name)
        message.unlink(missing_ok=True)
'''
SENSORS = {"polled": POLLED, "streamed": STREAMED, "queued": QUEUED}
IN_ORDER = ("polled", "streamed")


@dataclass
class Feed:
    """The file and the queue. `positions` is how many were written to each of them."""

    folder: Path
    positions: int = 0

    @property
    def file(self) -> Path:
        return self.folder / "feed"

    @property
    def queue(self) -> Path:
        return self.folder / "queue"

    def write_sensors(self, root: Path) -> None:
        """The empty file and queue, the sensors that look at them, and their triggers."""
        self.file.touch()
        self.queue.mkdir()
        for name, source in SENSORS.items():
            write_sensor(root, name, source)
        configured = {"configuration": {"feed": str(self.file), "queue": str(self.queue)}}
        batch = {"delay": 0.2, "max_wait": 1.0, "max_count": 20}
        write_triggers(root, TOGETHER, [sensor("polled", **configured) | {"batch": batch}])
        write_triggers(root, PIPELINE, [sensor("streamed", **configured), sensor("queued", **configured)])

    def write_next(self) -> None:
        """One position more."""
        self.positions += 1
        message = self.queue / f"{self.positions:06d}"
        with self.file.open("a") as file:
            file.write(f"{self.positions}\n")
        half = message.with_name(f"half-{message.name}")
        half.touch()
        os.rename(half, message)

    async def pour(self, chance: random.Random, over: asyncio.Event) -> None:
        """Write positions until the storm is over."""
        while not over.is_set():
            self.write_next()
            await asyncio.sleep(chance.uniform(0.0, 2.0 / PACE))

    async def is_read(self, connection: asyncpg.Connection[Any]) -> bool:
        """Whether every sensor has told of the last position."""
        told = await connection.fetchval(
            "SELECT count(DISTINCT source) FROM headrace.event WHERE source = ANY ($1) AND (payload ->> 'n')::int = $2",
            [f"sensor:{name}" for name in SENSORS], self.positions,
        )  # fmt: skip
        return bool(told == len(SENSORS) and not any(self.queue.iterdir()))

    async def faults(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """Positions that are missing, told twice or out of order, that have not made one run, or are still queued."""
        found = [f"a message is still in the queue: {message.name}" for message in sorted(self.queue.iterdir())]
        for name in SENSORS:
            found += await self._sensor_faults(connection, name)
        return found

    async def _sensor_faults(self, connection: asyncpg.Connection[Any], name: str) -> list[str]:
        rows = await connection.fetch(TOLD, f"sensor:{name}")
        told = [row["n"] for row in rows]
        counts, wanted = Counter(told), range(1, self.positions + 1)
        found = [f"sensor {name} told {counts[n]} times of position {n}" for n in wanted if counts[n] != 1]
        found += [f"sensor {name} told of position {n}, which never was" for n in counts if n not in wanted]
        if name in IN_ORDER and told != sorted(told):
            found.append(f"sensor {name} told of its positions out of order: {told}")
        return found + [
            f"position {row['n']} of sensor {name} has the fates {list(row['fates'])}"
            for row in rows
            if row["fates"] != ["run"]
        ]


TOLD = """
SELECT e.id, (e.payload ->> 'n')::int AS n, array_agg(f.fate) AS fates
FROM headrace.event e LEFT JOIN headrace.event_fate f ON f.event_id = e.id
WHERE e.source = $1 GROUP BY e.id ORDER BY e.id
"""
