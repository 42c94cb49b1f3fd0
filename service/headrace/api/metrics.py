"""Figures of the service for Prometheus: counted where things happen, and read from the database when asked."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from headrace.api.problems import UNREADABLE
from headrace.api.read_figures import backfill_families, schedule_families, sensor_families, sla_families
from headrace.api.routes import Call, Route
from headrace.domain.scopes import Scope
from headrace.store.backfills import count_live_backfills
from headrace.store.queries import QUERIES
from headrace.store.runs import runs_past_sla
from headrace.store.sensors import sensor_figures

READ_SECONDS = 2.0
LIVE = ("initial", "running")


async def show_metrics(call: Call) -> web.Response:
    """Tell the service's figures in the form of Prometheus."""
    figures = call.served.figures
    figures.streams.set(call.served.streams)
    try:
        async with asyncio.timeout(READ_SECONDS):
            await _read(call)
    except UNREADABLE:
        figures.up.set(0)
        figures.read.families = tuple(schedule_families(call.served)) if call.served.projects else ()
    else:
        figures.up.set(1)
    told = await asyncio.to_thread(generate_latest, figures.registry)
    return web.Response(body=told, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _read(call: Call) -> None:
    """Figures that are rows of the database, or states of its pool and of who follows schedules."""
    served, figures = call.served, call.served.figures
    pool, projects = served.opened.pool, served.project_ids
    figures.connections.labels("open").set(pool.get_size())
    figures.connections.labels("idle").set(pool.get_idle_size())
    rows = {row["status"]: row for row in await served.opened.fetch(QUERIES["live_runs"], projects)}
    for status in LIVE:
        figures.runs.labels(status).set(rows[status]["runs"] if status in rows else 0)
        figures.oldest.labels(status).set(rows[status]["oldest"] if status in rows else 0)
    sensors = await sensor_figures(served.opened, projects)
    live = await count_live_backfills(served.opened, projects)
    late = await runs_past_sla(served.opened, projects)
    figures.read.families = (
        *sensor_families(sensors), *schedule_families(served), *backfill_families(live), *sla_families(late)
    )  # fmt: skip


ROUTES = (Route("GET", "/metrics", Scope.READ, show_metrics, media="text/plain"),)
