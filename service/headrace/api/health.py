"""Whether the service lives, and whether it can serve: for those who restart it and those who send it work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from headrace.api.problems import UNREADABLE
from headrace.api.routes import Call, Route
from headrace.store.queries import QUERIES

LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Alive:
    """The service's loop turns."""

    alive: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """Whether the service can serve now; `waits_for` tells what keeps it from that."""

    ready: bool
    waits_for: str | None
    loop_lag_ms: float


async def show_health(call: Call) -> Alive:
    """Tell that the service lives, also while the database is away."""
    return Alive(True)


async def show_readiness(call: Call) -> Ready:
    """Tell whether the service can serve: 200, or 503 while the database is away or the service stops."""
    waits = await _waits_for(call)
    if waits:
        call.status = 503
    return Ready(waits is None, waits, round(call.served.figures.lag.latest * 1000, 3))


async def _waits_for(call: Call) -> str | None:
    served = call.served
    if served.stopping.is_set():
        return "its end: the service is stopping"
    if served.waits_for:
        return served.waits_for
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await served.opened.fetchval(QUERIES["ping"])
    except UNREADABLE:
        return "the database"
    return None


ROUTES = (
    Route("GET", "/healthz", None, show_health, open_because="tells nothing but that a service is here"),
    Route(
        "GET",
        "/readyz",
        None,
        show_readiness,
        also=(503,),
        open_because="balancers and supervisors have no token, and it tells nothing of what is served",
    ),
)
