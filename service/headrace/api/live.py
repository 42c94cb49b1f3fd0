"""A run as it goes: server-sent events of its state and its log, which a client that lost the line takes up again.

Each event's id is `<step>-<line>`: the run's last step and the last log line that were told. A client that comes back
with it (`Last-Event-ID`) gets what came after, nothing twice and nothing left out. Nothing is kept in memory for a
slow client: the next page is read from the database when it has taken the last one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import anyio
from aiohttp import web
from pydantic import Field, TypeAdapter

from headrace.api.fields import Given
from headrace.api.logs import LineView, line_view
from headrace.api.problems import STREAMING
from headrace.api.routes import Call, Route
from headrace.api.runs import RunPath
from headrace.api.served import Served
from headrace.domain.errors import HeadraceError
from headrace.domain.scopes import Scope
from headrace.domain.statuses import RUN_TERMINAL
from headrace.engine.reading import run_row, view_run
from headrace.engine.views import RunView
from headrace.store.errors import DATABASE_AWAY
from headrace.store.logs import log_lines

log = logging.getLogger(__name__)

MEDIA = "text/event-stream"
LOOK_SECONDS = 0.5
"""How often a run is looked at of which nothing is heard: another service may be driving it."""
SEND_SECONDS = 30.0
"""A client that takes nothing for so long is let go."""
LINES = 500
RETRY_MILLISECONDS = 1000
_END = b"event: end"
_PLACE = re.compile(r"^(\d{1,18})-(\d{1,18})$")
_STATE = TypeAdapter(RunView)
_LINE = TypeAdapter(LineView)


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


@dataclass(frozen=True, slots=True)
class Place:
    """How far a client has heard: the run's step and the id of a log line; -1 for nothing yet."""

    step: int = -1
    line: int = 0

    def __str__(self) -> str:
        return f"{self.step}-{self.line}"


async def follow_run(call: Call, path: RunPath, query: LiveQuery, headers: LiveHeaders) -> web.StreamResponse:
    """Follow a run: events `state` (a run as GET gives it), `log` (a line) and, once it has ended, `end`.

    Comes back where it was with the header `Last-Event-ID`; 204 where everything was told before.
    """
    place = _place(headers.last or query.after)
    headrace = await call.served.project_of(path.run)
    with _one_more(call.served), headrace.news.watching(path.run) as news:
        follower = Follower(call.served, path.run, place, news)
        if await follower.has_ended():
            return web.Response(status=204)
        response = await _begun(call)
        async for text in follower.texts():
            async with asyncio.timeout(SEND_SECONDS):
                await response.write(text)
        await response.write_eof()
        return response


def _place(given: str | None) -> Place:
    if given is None:
        return Place()
    step, _, line = given.partition("-")
    return Place(int(step), int(line))


@contextmanager
def _one_more(served: Served) -> Iterator[None]:
    if served.streams >= served.settings.most_streams:
        raise TooManyStreams(f"{served.streams} live streams are open.", remedy="Try again soon.")
    served.streams += 1
    try:
        yield
    finally:
        served.streams -= 1


async def _begun(call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": MEDIA, "X-Accel-Buffering": "no"})
    call.request[STREAMING] = True
    await response.prepare(call.request)
    await response.write(f"retry: {RETRY_MILLISECONDS}\n\n".encode())
    return response


@dataclass
class Follower:
    """Follows one run from a place on, for one client."""

    served: Served
    run: int
    place: Place
    news: asyncio.Event

    async def has_ended(self) -> bool:
        """Whether the run has ended and everything of it was told before."""
        row = await run_row(self.served.opened, self.run)
        return row["status"] in RUN_TERMINAL and row["step"] <= self.place.step and not await self._lines()

    async def texts(self) -> AsyncIterator[bytes]:
        """What is to be sent, as it happens: until the run has ended, or the stream has lasted long enough."""
        loop = asyncio.get_running_loop()
        closes, sent = loop.time() + self.served.settings.stream, loop.time()
        while loop.time() < closes and not self.served.stopping.is_set():
            self.news.clear()
            async for text in self._new():
                yield text
                sent = loop.time()
                if text.startswith(_END):
                    return
            if loop.time() - sent >= self.served.settings.beat:
                yield b": beat\n\n"
                sent = loop.time()
            with anyio.move_on_after(LOOK_SECONDS):
                await self.news.wait()

    async def _new(self) -> AsyncIterator[bytes]:
        """What came since the place, the log before the state: an ended run's log is then whole."""
        try:
            row = await run_row(self.served.opened, self.run)
            view = await view_run(self.served.opened, self.run) if row["step"] > self.place.step else None
            while lines := await self._lines():
                for line in lines:
                    self.place = replace(self.place, line=line.id)
                    yield self._event("log", _LINE.dump_json(line))
        except DATABASE_AWAY as error:
            log.info("the stream of run %s waits for the database (%s)", self.run, error)
            return
        if view is not None:
            self.place = replace(self.place, step=view.step)
            yield self._event("state", _STATE.dump_json(view))
        if row["status"] in RUN_TERMINAL:
            yield self._event("end", b"{}")

    async def _lines(self) -> list[LineView]:
        rows = await log_lines(self.served.opened, self.run, after=self.place.line, limit=LINES)
        return [line_view(row) for row in rows]

    def _event(self, name: str, told: bytes) -> bytes:
        return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), str(self.place).encode(), told)


ROUTES = (
    Route(
        "GET",
        "/api/v1/runs/{run}/live",
        Scope.READ,
        follow_run,
        problems=("unknown-run", "too-many-streams"),
        media=MEDIA,
    ),
)
