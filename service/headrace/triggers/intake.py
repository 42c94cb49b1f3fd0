"""Everything with which a service takes events in and makes runs of them, joined for the projects that it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from headrace.domain.retention import ProjectRetention
from headrace.engine.births import Births
from headrace.project.following import FollowedProject
from headrace.project.reading import read_project
from headrace.store.database import Database
from headrace.triggers.accepting import Acceptor
from headrace.triggers.backfilling import Backfilling
from headrace.triggers.backfills import Backfills
from headrace.triggers.batching import Batcher
from headrace.triggers.book import ServedProject, TriggerBook
from headrace.triggers.ended_runs import EndedRuns
from headrace.triggers.gap_watch import GapWatch
from headrace.triggers.observing import IntakeObserver
from headrace.triggers.pinning import PipelinePins
from headrace.triggers.planning import Planner
from headrace.triggers.recording import Recorder
from headrace.triggers.replaying import Replayer
from headrace.triggers.schedules import Timekeeper
from headrace.triggers.webhooks import Hooks

Part = Callable[[], Awaitable[None]]
"""A part of a service: serves until cancelled."""


@dataclass(frozen=True)
class Intake:
    """What accepts events. Its parts are run by whoever made it."""

    book: TriggerBook
    acceptor: Acceptor
    batcher: Batcher
    ended_runs: EndedRuns
    replayer: Replayer
    backfills: Backfills
    backfilling: Backfilling
    timekeeper: Timekeeper
    gap_watch: GapWatch
    hooks: Hooks

    @classmethod
    def of(
        cls,
        database: Database,
        projects: Mapping[int, FollowedProject],
        made_runs: Callable[[Sequence[int]], None],
        births: Births | None = None,
        observer: IntakeObserver | None = None,
    ) -> Self:
        """The intake of some projects, by id. `made_runs` hears of runs that it made and `births` did not take.

        `observer` hears how fast events are taken in.
        """
        served = [ServedProject(number, each.root, each.project().environ) for number, each in projects.items()]
        book = TriggerBook(database, served)
        pins = PipelinePins(database, {number: each.pipeline for number, each in projects.items()})
        acceptor = Acceptor(Planner(book, pins), Recorder(database, births or Births()), made_runs)
        batcher = Batcher(database, book, pins, made_runs)
        acceptor.waits = batcher.wake
        acceptor.observer = observer or acceptor.observer
        ended_runs = EndedRuns(database, acceptor, list(projects))
        backfills = Backfills(database, acceptor, book, list(projects))
        replayer, backfilling = Replayer(database, acceptor), Backfilling(database)
        timekeeper = Timekeeper(database, book, acceptor)
        retentions = {number: partial(_retention, each) for number, each in projects.items()}
        gap_watch = GapWatch(database, book, retentions, timekeeper.now)
        hooks = Hooks(book)
        return cls(book, acceptor, batcher, ended_runs, replayer, backfills, backfilling, timekeeper, gap_watch, hooks)

    def run_ended(self, run: int) -> None:
        """Hear that a run has ended here: it may be an event, and backfills and what is always on may go on."""
        self.ended_runs.wake()
        self.backfills.wake()
        self.timekeeper.always_on.wake()

    @property
    def parts(self) -> Mapping[str, Part]:
        """Name to part; each must run for as long as events are to be accepted."""
        return {
            "the book of triggers": self.book.run,
            "the acceptor of events": self.acceptor.run,
            "the batches of events": self.batcher.run,
            "the events of ended runs": self.ended_runs.run,
            "the runs of backfills": self.backfills.run,
            "the slots of schedules": self.timekeeper.run,
            "the look for gaps": self.gap_watch.run,
        }


def _retention(project: FollowedProject) -> ProjectRetention:
    return read_project(project.root, project.environ).retention
