"""Writers that send events to whichever service answers, and again until one does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.scene import Errand

ANSWER_SECONDS = 1.0
"""A service that says nothing for so long is given up: it may be stopped, or its database may be."""


@dataclass
class Line:
    """One writer's way to the services: a connection at a time, to a door chosen anew after each failure."""

    doors: Sequence[Path]
    chance: random.Random
    failures: int = 0
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def deliver(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send until it is accepted; the answer."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await self._asked(request)
                if "error" not in answer:
                    return answer
            except (OSError, TimeoutError, ValueError):
                pass
            self.failures += 1
            self.close()
            await asyncio.sleep(self.chance.uniform(0.02, 0.2))

    async def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self.chance.choice(self.doors))
        reader, writer = self._streams
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        answer: dict[str, Any] = json.loads(await reader.readline())
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


@dataclass
class Sent:
    """What writers sent and were answered."""

    answers: dict[Errand, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    repeats: int = 0

    def note(self, errand: Errand, answer: dict[str, Any]) -> None:
        """Keep an answer; one to an errand that was answered before must tell the same."""
        first = self.answers.setdefault(errand, answer)
        if first is answer:
            return
        self.repeats += 1
        if answer["is_new"] or _settled(answer, first) != _settled(first, answer):
            self.faults.append(f"two answers to one event: {errand.source} {errand.key}: {first} and {answer}")


def _settled(answer: dict[str, Any], other: dict[str, Any]) -> list[Any]:
    """The event and its fates, without those that waited in one of the two answers."""
    waiting = {fate[0] for given in (answer, other) for fate in given["fates"] if fate[1] == "waiting"}
    return [answer["event"], [fate for fate in answer["fates"] if fate[0] not in waiting]]
