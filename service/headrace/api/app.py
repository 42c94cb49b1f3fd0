"""The application: every route of the API in one table, and what stands around all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import version
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from headrace.api import (
    backfills,
    events,
    health,
    hooks,
    live,
    live_runs,
    logs,
    mage_triggers,
    metrics,
    openapi,
    outputs,
    pipelines,
    projects,
    runs,
    schedules,
    sensors,
    tokens,
    triggers,
)
from headrace.api.endpoints import endpoint
from headrace.api.figures import Figures
from headrace.api.headers import add_headers
from headrace.api.hosts import only_hosts
from headrace.api.problems import STREAMING, answer_in_problems
from headrace.api.routes import Route
from headrace.api.served import Served

ROUTES: Sequence[Route] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
    *projects.ROUTES,
    *pipelines.ROUTES,
    *live_runs.ROUTES,
    *runs.ROUTES,
    *logs.ROUTES,
    *live.ROUTES,
    *outputs.ROUTES,
    *events.ROUTES,
    *sensors.ROUTES,
    *backfills.ROUTES,
    *hooks.ROUTES,
    *mage_triggers.ROUTES,
    *triggers.ROUTES,
    *schedules.ROUTES,
    *tokens.ROUTES,
)
"""All there is. What is not here is not there: no path is served, and let through, but by its row in this table."""


def build_app(served: Served, hosts: Collection[str] | None, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The application that serves the API; with `hosts`, only under these names."""
    outer = [only_hosts(hosts)] if hosts is not None else []
    app = web.Application(middlewares=[_timed(served.figures), answer_in_problems, *outer])
    app[openapi.DESCRIPTION] = openapi.describe(routes, version("headrace"))
    for route in routes:
        app.router.add_route(route.method, route.path, endpoint(served, route), name=route.name)
    app.on_response_prepare.append(add_headers)
    return app


def _timed(figures: Figures) -> Middleware:
    """Times requests under their route's name: paths as they came would be without number."""

    @web.middleware
    async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = perf_counter()
        response = await handler(request)
        name = request.match_info.route.name
        if name is not None and not request.get(STREAMING):
            figures.requests.labels(name, response.status).observe(perf_counter() - began)
        return response

    return timed
