"""Joins the engine to an opened project: its workers, its work folder, the sample server. Loaded only by who drives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from headrace.engine.answering import RunAnswers
from headrace.engine.engine import Engine, EngineSettings
from headrace.engine.headrace import Headrace
from headrace.engine.work_folder import work_folder
from headrace.engine.worker_environment import worker_environ
from headrace.engine.workers import WorkerPool
from headrace.engine.world import World
from headrace.project.reading import Project
from headrace.samples import serve_samples
from headrace.store.database import Database
from headrace.store.embedded import HOME_SETTING
from headrace.store.project_role import project_database

ENGINE_CONNECTIONS = 6
"""Of the engine's own, beside those for its writer, its lease and its listener: whoever reads runs cannot starve it."""


@asynccontextmanager
async def driving(headrace: Headrace, *, spares: int = 2) -> AsyncIterator[None]:
    """Drive the runs that an opened Headrace was or will be asked for, in this process until the context ends."""
    async with AsyncExitStack() as stack:
        await start_engine(stack, headrace, claim_all=False, settings=None, spares=spares)
        yield


async def start_engine(
    stack: AsyncExitStack,
    headrace: Headrace,
    *,
    claim_all: bool,
    settings: EngineSettings | None,
    spares: int,
    world: World | None = None,
) -> None:
    """Drive a project's runs until the stack is left: all of them, or those that this Headrace is asked for."""
    database, project, world = headrace.database, headrace.project, world or World()
    extra = {"HEADRACE_SAMPLES_URL": await stack.enter_async_context(serve_samples())}
    if "POSTGRES_HOST" not in project.environ and database.address.kind == "embedded":
        extra |= await database.retrying(lambda: project_database(database, project.root))
    pool = await stack.enter_async_context(
        WorkerPool(environ=worker_environ(project.environ, extra), spares=spares, spawn=world.spawn)
    )
    folder = stack.enter_context(work_folder(_work_base(database, project)))
    pool.answers = partial(RunAnswers(database).answer, headrace.project_id)
    headrace.pool = pool
    headrace.engine = Engine(
        database=await stack.enter_async_context(database.beside(ENGINE_CONNECTIONS)),
        pool=pool,
        project=project.root,
        project_id=headrace.project_id,
        work_folder=folder,
        clock=world.clock,
        random=world.random,
        settings=settings or EngineSettings(),
        only=None if claim_all else set(headrace.asked_for),
        changed=headrace.note_change,
        observer=headrace.observer,
        read_limits=lambda pipeline: headrace.followed.pipeline(pipeline).run_limits,
    )
    tasks = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(tasks.cancel_scope.cancel)
    tasks.start_soon(headrace.engine.run)
    await headrace.engine.ready()


def _work_base(database: Database, project: Project) -> Path:
    folder = database.address.folder
    if folder is not None:
        return folder.parent / "work"
    return Path(project.environ.get(HOME_SETTING) or project.root / ".headrace") / "work"
