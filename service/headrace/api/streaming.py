"""Server-sent events: how a live stream begins, goes on and ends, whatever it tells of.

Nothing is kept in memory for a slow client: the next page is read from the database when it has taken the last one.
Each event's id is the place at which a client that lost the line goes on (`Last-Event-ID`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import anyio
from aiohttp import web
from pydantic import Field

from headrace.api.fields import Given
from headrace.api.problems import STREAMING
from headrace.api.routes import Call
from headrace.api.served import Served
from headrace.domain.errors import HeadraceError
from headrace.store.errors import DATABASE_AWAY

log = logging.getLogger(__name__)

MEDIA = "text/event-stream"
LOOK_SECONDS = 0.5
"""How often it is looked where nothing is heard: another service may have done something."""
SEND_SECONDS = 30.0
"""A client that takes nothing for so long is let go."""
RETRY_MILLISECONDS = 1000
_END = b"event: end"
_PLACE = re.compile(r"^(\d{1,18})-(\d{1,18})$")


class TooManyStreams(HeadraceError):
    """As many live streams are open as this service carries."""

    code = "too-many-streams"


class LiveHeaders(Given):
    """Where to go on."""

    last: Annotated[
        str | None,
        Field(alias="Last-Event-ID", pattern=_PLACE.pattern, description="The id of the last event that came."),
    ] = None


class LiveQuery(Given):
    """Where to go on, for clients that cannot send headers."""

    after: Annotated[str | None, Field(pattern=_PLACE.pattern, description="As `Last-Event-ID`.")] = None


def given_place(query: LiveQuery, headers: LiveHeaders) -> tuple[int, int] | None:
    """The two numbers of the place from which a client goes on; None for a new one."""
    given = headers.last or query.after
    if given is None:
        return None
    first, _, second = given.partition("-")
    return int(first), int(second)


def event(name: str, place: object, told: bytes) -> bytes:
    """One event as it is sent."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), str(place).encode(), told)


@contextmanager
def one_more(served: Served) -> Iterator[None]:
    """Count a stream while it is open. Raises TooManyStreams."""
    if served.streams >= served.settings.most_streams:
        raise TooManyStreams(f"{served.streams} live streams are open.", remedy="Try again soon.")
    served.streams += 1
    try:
        yield
    finally:
        served.streams -= 1


@dataclass
class Follower(ABC):
    """Follows something for one client. `news` is set when there may be something new."""

    least_seconds: ClassVar[float] = 0.0
    """How close two looks may follow each other where much is heard."""

    served: Served
    news: asyncio.Event

    @abstractmethod
    def new(self) -> AsyncIterator[bytes]:
        """What there is to tell since the last time; an event `end` is the last one."""

    def beat(self) -> bytes:
        """What is sent while there is nothing to tell."""
        return b": beat\n\n"

    async def texts(self) -> AsyncIterator[bytes]:
        """What is to be sent, as it happens: until the end, or until the stream has lasted long enough."""
        loop = asyncio.get_running_loop()
        closes, sent = loop.time() + self.served.settings.stream, loop.time()
        while loop.time() < closes and not self.served.stopping.is_set():
            self.news.clear()
            try:
                async for text in self.new():
                    yield text
                    sent = loop.time()
                    if text.startswith(_END):
                        return
            except DATABASE_AWAY as error:
                log.info("a live stream waits for the database (%s)", error)
            if loop.time() - sent >= self.served.settings.beat:
                yield self.beat()
                sent = loop.time()
            with anyio.move_on_after(LOOK_SECONDS):
                await anyio.sleep(self.least_seconds)
                await self.news.wait()


async def streamed(call: Call, follower: Follower) -> web.StreamResponse:
    """Answer a request with what a follower tells."""
    response = web.StreamResponse(headers={"Content-Type": MEDIA, "X-Accel-Buffering": "no"})
    call.request[STREAMING] = True
    await response.prepare(call.request)
    await response.write(f"retry: {RETRY_MILLISECONDS}\n\n".encode())
    async for text in follower.texts():
        async with asyncio.timeout(SEND_SECONDS):
            await response.write(text)
    await response.write_eof()
    return response
