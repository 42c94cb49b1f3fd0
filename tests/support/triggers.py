"""Everything that accepts events for one project, as a service has it, without an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import yaml
from headrace.domain.events import NewEvent
from headrace.project.following import FollowedProject
from headrace.project.reading import read_project
from headrace.store.database import Database
from headrace.store.runs import keep_project
from headrace.triggers.accepting import Acceptor
from headrace.triggers.batching import Batcher
from headrace.triggers.book import ServedProject, TriggerBook
from headrace.triggers.pinning import PipelinePins
from headrace.triggers.planning import Planner
from headrace.triggers.recording import Recorder
from headrace.triggers.rounds import Rounds


def write_triggers(root: Path, pipeline: str, triggers: Sequence[Mapping[str, Any]]) -> None:
    """A pipeline's triggers.yaml; triggers that say nothing of their status are active."""
    listed = [{"status": "active", **trigger} for trigger in triggers]
    (root / "pipelines" / pipeline / "triggers.yaml").write_text(yaml.safe_dump({"triggers": listed}))


def webhook(name: str, path: str | None = None, **keys: Any) -> dict[str, Any]:
    """A trigger that listens to `webhook:<path>`, its name by default."""
    return {"name": name, "schedule_type": "webhook", "webhook": {"path": path or name}, **keys}


@dataclass
class TriggerStack:
    """One service's parts that make events and runs."""

    database: Database
    project: ServedProject
    book: TriggerBook
    acceptor: Acceptor
    batcher: Batcher
    made: list[int] = field(default_factory=list)
    """Runs that the acceptor or the batcher told of."""

    def event(self, source: str, key: str, payload: Any = None, **more: Any) -> NewEvent:
        return NewEvent(self.project.id, source, "test", key, payload, **more)

    def trigger_id(self, name: str) -> int:
        return next(known.id for known in self.book.active() if known.trigger.name == name)


async def make_stack(database: Database, root: Path, environ: Mapping[str, str] | None = None) -> TriggerStack:
    """The parts for the project in `root`; the book has looked once, nothing runs yet."""
    project = read_project(root, environ or {})
    served = ServedProject(await keep_project(database, str(root), project.name), root, project.environ)
    book = TriggerBook(database, [served])
    await book.look()
    pins = PipelinePins(database, {served.id: FollowedProject(root, environ or {}).pipeline})
    stack = TriggerStack(
        database,
        served,
        book,
        Acceptor(Planner(book, pins), Recorder(database)),
        Batcher(database, book, pins, rounds=Rounds("batches", 0.05)),
    )
    stack.acceptor.made_runs = stack.batcher.made_runs = stack.made.extend
    stack.acceptor.waits = stack.batcher.wake
    return stack


@asynccontextmanager
async def trigger_stack(
    database: Database, root: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[TriggerStack]:
    """A stack whose acceptor serves until the block ends; the batcher is the test's to run."""
    stack = await make_stack(database, root, environ)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stack.acceptor.run)
        yield stack
        tasks.cancel_scope.cancel()
