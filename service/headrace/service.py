"""Opens a project: reads it, connects to its database, and where asked to joins an engine that drives its runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.engine.headrace import Headrace
from headrace.project.following import FollowedProject
from headrace.store.database import open_database
from headrace.store.runs import keep_project
from headrace.store.slots import keep_pools

if TYPE_CHECKING:
    from headrace.engine.engine import EngineSettings
    from headrace.engine.world import World

__all__ = ["Headrace", "open_headrace"]


@asynccontextmanager
async def open_headrace(
    project: Path,
    *,
    environ: Mapping[str, str] | None = None,
    drive: bool = True,
    claim_all: bool = False,
    settings: EngineSettings | None = None,
    spares: int = 2,
    world: World | None = None,
) -> AsyncIterator[Headrace]:
    """Open a project's Headrace; with `drive` it runs pipelines in this process until the context ends.

    A driving one claims only the runs that it was asked for, or (`claim_all`) every run of the project that waits.
    `world` is where it takes time, chance and processes from.
    """
    given = os.environ if environ is None else environ
    root = _resolved(project)
    followed = FollowedProject(root, given)
    read = followed.project()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(root, given))
        project_id = await keep_project(database, str(root), read.name)
        await keep_pools(database, project_id, read.defaults.pools)
        headrace = Headrace(followed, project_id, database)
        if drive:
            from headrace.driving import start_engine  # an engine is only loaded by those who drive

            await start_engine(stack, headrace, claim_all=claim_all, settings=settings, spares=spares, world=world)
        yield headrace


def _resolved(project: Path) -> Path:
    return project.resolve()
