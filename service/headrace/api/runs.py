"""Runs: listed, shown, started, cancelled, retried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from headrace.api.fields import Given, Id, Text, Variables
from headrace.api.pages import Page, PageQuery, page_of
from headrace.api.routes import Call, Route
from headrace.domain.scopes import Scope
from headrace.domain.statuses import RunStatus
from headrace.engine.reading import summaries, view_run
from headrace.engine.views import RunSummary, RunView


class RunPath(Given):
    """Which run."""

    run: Id


class RunsQuery(PageQuery):
    """A page of runs, newest first, of one project or pipeline or status."""

    project: Text | None = None
    pipeline: Text | None = None
    status: RunStatus | None = None


class NewRun(Given):
    """What is to be run: a pipeline, or one of its blocks on stored outputs, or with all blocks above it."""

    project: Text | None = None
    pipeline: Text
    variables: Variables = Field(default_factory=dict)
    block: Text | None = None
    with_upstream: Annotated[bool, Field(description="With `block`: run all blocks above it too.")] = False


class StartHeaders(Given):
    """What tells one start from another."""

    key: Annotated[
        str | None,
        Field(
            alias="Idempotency-Key",
            max_length=200,
            pattern=r"^[!-~]+$",
            description="Starts with the same key are one: the run is made once.",
        ),
    ] = None


class Retry(Given):
    """How to run again what did not complete."""

    from_block: Annotated[Text | None, Field(description="Run this block and all below it again.")] = None
    latest: Annotated[bool, Field(description="Use the files as they are now, not as pinned.")] = False


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is recorded; it starts as soon as a service claims it."""

    id: int


@dataclass(frozen=True, slots=True)
class Waits:
    """What a run waits for now, a line each, and behind whom; empty where it waits for nothing."""

    items: tuple[str, ...]


async def list_runs(call: Call, query: RunsQuery) -> Page[RunSummary]:
    """List runs, newest first."""
    found = await summaries(
        call.served.opened,
        call.served.chosen_ids(query.project),
        limit=query.limit + 1,
        before=query.before,
        pipeline=query.pipeline,
        status=query.status,
    )
    return page_of(found, query.limit, lambda run: run.id)


async def show_run(call: Call, path: RunPath) -> RunView:
    """Show a run: where each block stands, and why what waits waits."""
    await call.served.project_of(path.run)
    return await view_run(call.served.opened, path.run)


async def show_waits(call: Call, path: RunPath) -> Waits:
    """Tell what a run waits for."""
    headrace = await call.served.project_of(path.run)
    return Waits(tuple(await headrace.why(path.run)))


async def start_run(call: Call, headers: StartHeaders, body: NewRun) -> StartedRun:
    """Start a run of a pipeline, or of one of its blocks.

    A start with an `Idempotency-Key` is made once: the same key again gives the same run.
    """
    headrace = call.served.project(body.project)
    if body.block is None:
        accepted = await call.served.intake.acceptor.start(
            headrace.project_id, body.pipeline, body.variables, key=headers.key
        )
        return _started(call, accepted.runs[0])
    run = await headrace.create_run(
        body.pipeline,
        variables=body.variables,
        block=body.block,
        with_upstream=body.with_upstream,
        key=headers.key,
    )
    return _started(call, run)


async def cancel_run(call: Call, path: RunPath) -> RunView:
    """Ask for a run's cancel; its status tells when it has ended."""
    headrace = await call.served.project_of(path.run)
    await headrace.cancel(path.run)
    return await view_run(call.served.opened, path.run)


async def retry_run(call: Call, path: RunPath, headers: StartHeaders, body: Retry) -> StartedRun:
    """Run again what did not complete, as a new run that keeps the rest; once for each `Idempotency-Key`."""
    headrace = await call.served.project_of(path.run)
    again = await headrace.retry(path.run, from_block=body.from_block, latest=body.latest, key=headers.key)
    return _started(call, again)


def _started(call: Call, run: int) -> StartedRun:
    call.headers["Location"] = f"/api/v1/runs/{run}"
    return StartedRun(run)


_CANNOT_START = (
    "unknown-project", "project-needed", "unknown-pipeline", "unknown-block", "no-stored-output", "outputs-removed",
    "project-fault", "unacceptable-event", "unusable-variable",
)  # fmt: skip

ROUTES = (
    Route("GET", "/api/v1/runs", Scope.READ, list_runs, problems=("unknown-project",)),
    Route("POST", "/api/v1/runs", Scope.RUN, start_run, 201, _CANNOT_START),
    Route("GET", "/api/v1/runs/{run}", Scope.READ, show_run, problems=("unknown-run",)),
    Route("GET", "/api/v1/runs/{run}/why", Scope.READ, show_waits, problems=("unknown-run",)),
    Route("POST", "/api/v1/runs/{run}/cancel", Scope.RUN, cancel_run, 202, problems=("unknown-run", "already-ended")),
    Route(
        "POST",
        "/api/v1/runs/{run}/retry",
        Scope.RUN,
        retry_run,
        201,
        problems=(
            "unknown-run",
            "unknown-block",
            "still-running",
            "unknown-pipeline",
            "project-fault",
            "outputs-removed",
        ),
    ),
)
