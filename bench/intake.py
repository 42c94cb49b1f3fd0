"""What the measures of events and queues need beside a driven Headrace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio
from headrace.project.following import FollowedProject
from headrace.service import Headrace
from headrace.triggers.accepting import Acceptor
from headrace.triggers.intake import Intake


@asynccontextmanager
async def accepting(headrace: Headrace, tell: Callable[[Sequence[int]], None]) -> AsyncIterator[Acceptor]:
    """An acceptor of the project's events that serves until the block ends; `tell` hears of the runs that it made."""
    project = FollowedProject(headrace.project.root, headrace.project.environ)
    acceptor = Intake.of(headrace.database, {headrace.project_id: project}, tell).acceptor
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acceptor.run)
        yield acceptor
        tasks.cancel_scope.cancel()


@contextmanager
def driving_all(headrace: Headrace) -> Iterator[None]:
    """Within the block the engine claims every run of the project, as that of a service does."""
    engine = headrace.engine
    assert engine is not None
    before, engine.only = engine.only, None
    try:
        yield
    finally:
        engine.only = before
