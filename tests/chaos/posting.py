"""Senders that post to webhooks over HTTP, lose answers and hang up, and post again under the same delivery id."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from tests.support.sending import github_headers
from tests.support.triggers import write_triggers

PIPELINE = "hooked"
SECRET = "a secret of the sender's"
PLAIN, SIGNED = "plain", "signed/by/github"
ANSWER_SECONDS = 2.0
WAIT_SECONDS = 1.0
GIVEN_UP_WITHIN = 0.03
"""Seconds after which a sender that hangs up has done so: before, amid or after the commit."""
LOST, HUNG_UP, WAITED = 0.15, 0.15, 0.1
"""The shares of requests whose answer is lost, of those that are given up, of those that wait for the run's end."""
TO_BE_TRIED_AGAIN = (503,)
"""What a service may say other than that it has the delivery."""


def write_hooks(root: Path) -> None:
    """Two webhooks: one that takes everything, one whose deliveries are signed."""
    write_triggers(root, PIPELINE, [
        {"name": "open", "schedule_type": "webhook", "webhook": {"path": PLAIN, "preset": "none"}},
        {"name": "signed", "schedule_type": "webhook", "webhook": {"path": SIGNED, "preset": "github", "secret": SECRET}},
    ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one sender has to post."""

    path: str
    id: str
    payload: dict[str, Any] = field(hash=False, compare=False)

    @property
    def body(self) -> bytes:
        return json.dumps(self.payload).encode()

    @property
    def headers(self) -> dict[str, str]:
        if self.path == SIGNED:
            return github_headers(self.body, SECRET, self.id)
        return {"Idempotency-Key": self.id, "Content-Type": "application/json"}


@dataclass
class Post:
    """Every delivery with the answers that its sender got, and those that were lost on the way back."""

    answers: dict[Delivery, list[dict[str, Any]]] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    failures: int = 0
    lost: int = 0
    hung_up: int = 0

    def note(self, delivery: Delivery, answer: dict[str, Any]) -> None:
        """Keep what was answered: each answer to one delivery must be the same."""
        told = {name: answer[name] for name in ("event", "run", "runs", "fates")}
        given = self.answers[delivery]
        given.append(told)
        if told != given[0]:
            self.faults.append(f"two answers to the delivery {delivery.id}: {given[0]} and {told}")

    def note_refusal(self, delivery: Delivery, status: int, text: str) -> None:
        self.refused[status] += 1
        if status not in TO_BE_TRIED_AGAIN:
            self.faults.append(f"the delivery {delivery.id} was answered with {status}: {text[:300]}")

    async def delivery_faults(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """Deliveries that are not one event with one run, as their answers said, and events that nobody sent."""
        events: dict[tuple[str, str], list[asyncpg.Record]] = {}
        for row in await connection.fetch(POSTED, [f"webhook:{path}" for path in (PLAIN, SIGNED)]):
            events.setdefault((row["source"], row["key"]), []).append(row)
        known = {(f"webhook:{delivery.path}", delivery.id): delivery for delivery in self.answers}
        found = [f"an event was never sent: {source} {key}" for source, key in events.keys() - known.keys()]
        for place, delivery in known.items():
            found += _record_faults(delivery, self.answers[delivery][0], events.get(place, []))
        return found


def _record_faults(delivery: Delivery, answer: dict[str, Any], rows: list[asyncpg.Record]) -> list[str]:
    if len(rows) != 1:
        return [f"the delivery {delivery.id} has {len(rows)} events with runs"]
    row = rows[0]
    recorded = {"event": row["id"], "runs": [row["run_id"]]}
    if recorded != {"event": answer["event"], "runs": answer["runs"]}:
        return [f"the delivery {delivery.id} was answered with {answer} and is recorded as {recorded}"]
    if not json.loads(row["payload"]) == json.loads(row["handed"] or "null") == delivery.payload:
        return [f"the delivery {delivery.id} was {delivery.payload}, its run got {row['handed']}"]
    return []


POSTED = """
SELECT e.id, e.source, e.key, f.run_id, e.payload::text AS payload, (r.variables -> 'event')::text AS handed
FROM headrace.event e
LEFT JOIN headrace.event_fate f ON f.event_id = e.id
LEFT JOIN headrace.run r ON r.id = f.run_id AND r.trigger_id = f.trigger_id
WHERE e.source = ANY ($1)
"""
"""A delivery that has two fates is two rows."""


@dataclass
class Sender:
    """Posts one delivery after another, to whichever service answers."""

    addresses: Sequence[Path]
    """Files in which services write their addresses."""
    number: int
    post: Post
    chance: random.Random
    client: aiohttp.ClientSession

    async def send_until(self, over: asyncio.Event, pace: float) -> None:
        """Send until the storm is over; whatever was begun is delivered."""
        count = 0
        while not over.is_set():
            count += 1
            payload = {"sender": self.number, "n": count}
            await self.deliver(Delivery(self.chance.choice((PLAIN, SIGNED)), f"{self.number}-{count}", payload))
            await asyncio.sleep(self.chance.uniform(0.0, 2.0 / pace))

    async def deliver(self, delivery: Delivery) -> None:
        """Post until an answer arrives that is not lost on the way."""
        self.post.answers[delivery] = []
        while True:
            answer = await self._posted(delivery)
            if answer is not None:
                self.post.note(delivery, answer)
                if self.chance.random() >= LOST:
                    return
                self.post.lost += 1
            await asyncio.sleep(self.chance.uniform(0.02, 0.2))

    async def _posted(self, delivery: Delivery) -> dict[str, Any] | None:
        hangs_up = self.chance.random() < HUNG_UP
        patience = self.chance.uniform(0.0, GIVEN_UP_WITHIN) if hangs_up else ANSWER_SECONDS
        try:
            async with asyncio.timeout(patience):
                return await self._asked(delivery)
        except (OSError, TimeoutError, aiohttp.ClientError):
            self.post.hung_up += hangs_up
            self.post.failures += not hangs_up
            return None

    async def _asked(self, delivery: Delivery) -> dict[str, Any] | None:
        address = self.chance.choice(self.addresses).read_text()
        wait = f"?wait={WAIT_SECONDS}" if self.chance.random() < WAITED else ""
        url = f"{address}/hooks/{delivery.path}{wait}"
        async with self.client.post(url, data=delivery.body, headers=delivery.headers) as response:
            if response.status in (200, 202):
                answer: dict[str, Any] = await response.json()
                return answer
            self.post.note_refusal(delivery, response.status, await response.text())
            return None
