"""All runs as they change their status: server-sent events that a client which lost the line takes up again.

Each event's id is `<transaction>-<run>`. A client that comes back with it gets every change that it has not heard of.
The last changes before the line was lost may come once more: earlier transactions could still add to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import TypeAdapter

from headrace.api.fields import Text
from headrace.api.routes import Call, Route
from headrace.api.streaming import MEDIA, Follower, LiveHeaders, LiveQuery, event, given_place, one_more, streamed
from headrace.domain.scopes import Scope
from headrace.engine.run_changes import RunPlace, are_beyond, changed_runs, horizon_now
from headrace.engine.views import RunSummary

CHANGES = 200
"""Changes that are read at once."""
MOST_BEHIND = 10_000
"""A client that is further behind is told to read its lists anew."""
_RUN = TypeAdapter(RunSummary)


class LiveRunsQuery(LiveQuery):
    """Which runs, and where to go on."""

    project: Text | None = None
    pipeline: Text | None = None


async def follow_runs(call: Call, query: LiveRunsQuery, headers: LiveHeaders) -> web.StreamResponse:
    """Follow all runs: an event `run` (a run as the list gives it) for each new one and each change of a status.

    Begins with what happens from now on: open it first, then read the list. With the header `Last-Event-ID` it goes on
    where it was and leaves nothing out, though it may repeat what came last. Of several changes of one run that follow
    each other closely only the last is told. An event `reset` says that the place is unknown or too far back: read
    lists anew.
    """
    served, given = call.served, given_place(query, headers)
    projects = served.chosen_ids(query.project)
    with one_more(served), ExitStack() as stack:
        news = asyncio.Event()
        for headrace in served.projects.values():
            if headrace.project_id in projects:
                stack.enter_context(headrace.news.watching(news=news))
        place = None if given is None else RunPlace(*given)
        return await streamed(call, RunsFollower(served, news, projects, query.pipeline, place))


@dataclass
class RunsFollower(Follower):
    """Follows the runs of some projects from a place on, for one client; None for from now on."""

    least_seconds = 0.1

    projects: list[int]
    pipeline: str | None
    place: RunPlace | None
    _seen: str = ""
    """The snapshot of which everything was told; empty while nothing beyond the place was."""
    _last: dict[int, RunPlace] = field(default_factory=dict)
    """The places of the changes that the last look told: one that it saw too early comes once more in the next."""
    _begun: bool = False

    async def new(self) -> AsyncIterator[bytes]:
        """What has changed since the place."""
        if not self._begun:
            async for text in self._beginning():
                yield text
        async for text in self._changes():
            yield text

    def beat(self) -> bytes:
        """The place without an event: whoever hears nothing for long does not fall behind."""
        return super().beat() if self.place is None else b"id: %s\n\n" % _told(self.place)

    async def _beginning(self) -> AsyncIterator[bytes]:
        now = await horizon_now(self.served.opened)
        is_known = self.place is not None and self.place.transaction <= now.next
        if self.place is not None and is_known and await are_beyond(self.served.opened, self.place, MOST_BEHIND):
            is_known = False
        if not is_known:
            is_new, self.place, self._seen = self.place is None, RunPlace(now.transaction), now.snapshot
            yield self.beat() if is_new else event("reset", _place(self.place), b"{}")
        self._begun = True

    async def _changes(self) -> AsyncIterator[bytes]:
        assert self.place is not None  # noqa: S101 - the beginning has set it
        after, first, told = self.place, None, dict[int, RunPlace]()
        while True:
            page = await changed_runs(
                self.served.opened, self.projects, after, self._seen, pipeline=self.pipeline, limit=CHANGES
            )
            first = first or page
            for change in page.changed:
                after = change.place
                told[change.run.id] = change.place
                if self._last.get(change.run.id) != change.place:
                    self.place = max(self.place, min(after, RunPlace(first.horizon)))
                    yield event("run", _place(self.place), _RUN.dump_json(change.run))
            if len(page.changed) < CHANGES:
                break
        self.place, self._seen, self._last = max(self.place, RunPlace(first.horizon)), first.snapshot, told


def _place(place: RunPlace) -> str:
    return f"{place.transaction}-{place.run}"


def _told(place: RunPlace) -> bytes:
    return _place(place).encode()


ROUTES = (
    Route(
        "GET",
        "/api/v1/runs/live",
        Scope.READ,
        follow_runs,
        problems=("unknown-project", "too-many-streams"),
        media=MEDIA,
    ),
)
