"""A run as it goes: server-sent events of its state and its log, which a client that lost the line takes up again.

Each event's id is `<step>-<line>`: the run's last step and the last log line that were told. A client that comes back
with it gets what came after, nothing twice and nothing left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from aiohttp import web
from pydantic import TypeAdapter

from headrace.api.logs import LineView, line_view
from headrace.api.routes import Call, Route
from headrace.api.runs import RunPath
from headrace.api.streaming import MEDIA, Follower, LiveHeaders, LiveQuery, event, given_place, one_more, streamed
from headrace.domain.scopes import Scope
from headrace.engine.reading import run_row, view_run
from headrace.engine.views import RunView
from headrace.store.logs import log_lines

LINES = 500
_STATE = TypeAdapter(RunView)
_LINE = TypeAdapter(LineView)


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
    given = given_place(query, headers)
    headrace = await call.served.project_of(path.run)
    with one_more(call.served), headrace.news.watching(path.run) as news:
        follower = RunFollower(call.served, news, path.run, Place() if given is None else Place(*given))
        if await follower.has_ended():
            return web.Response(status=204)
        return await streamed(call, follower)


@dataclass
class RunFollower(Follower):
    """Follows one run from a place on, for one client."""

    run: int
    place: Place

    async def has_ended(self) -> bool:
        """Whether the run has ended and everything of it was told before."""
        row = await run_row(self.served.opened, self.run)
        return row["finished_at"] is not None and row["step"] <= self.place.step and not await self._lines()

    async def new(self) -> AsyncIterator[bytes]:
        """What came since the place, the log before the state: an ended run's log is then whole."""
        row = await run_row(self.served.opened, self.run)
        view = await view_run(self.served.opened, self.run) if row["step"] > self.place.step else None
        while lines := await self._lines():
            for line in lines:
                self.place = replace(self.place, line=line.id)
                yield event("log", self.place, _LINE.dump_json(line))
        if view is not None:
            self.place = replace(self.place, step=view.step)
            yield event("state", self.place, _STATE.dump_json(view))
        if row["finished_at"] is not None:
            yield event("end", self.place, b"{}")

    async def _lines(self) -> list[LineView]:
        rows = await log_lines(self.served.opened, self.run, after=self.place.line, limit=LINES)
        return [line_view(row) for row in rows]


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
