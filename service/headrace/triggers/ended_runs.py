"""Makes an event of each ended run that some trigger listens for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from headrace.domain.events import NewEvent
from headrace.domain.moments import told
from headrace.store.database import Database
from headrace.store.ended_runs import EndedRun, drop_ended_runs, take_ended_runs
from headrace.triggers.accepting import Acceptor
from headrace.triggers.rounds import NOTHING_DUE, Rounds

MOST_AT_ONCE = 100


@dataclass
class EndedRuns:
    """Turns ended runs into events, each once, whatever the number of services."""

    database: Database
    acceptor: Acceptor
    projects: Sequence[int]
    rounds: Rounds = field(default_factory=lambda: Rounds("ended runs"))

    def wake(self) -> None:
        """Hear that some run has ended."""
        self.rounds.wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.rounds.run(self._round)

    async def _round(self) -> float:
        return 0.0 if await self.look() == MOST_AT_ONCE else NOTHING_DUE

    async def look(self) -> int:
        """Make events of the runs that have ended since; how many there were."""
        began = perf_counter()
        async with self.database.transaction() as connection:
            newer = self.acceptor.planner.book.newer_sources("run:")
            ended = await take_ended_runs(connection, self.projects, MOST_AT_ONCE, without=newer)
            if not ended:
                return 0
            answers = await self.acceptor.accept_in(connection, [event_of(run) for run in ended])
            await drop_ended_runs(connection, [run.id for run in ended])
        self.acceptor.committed(answers, "run", began)
        return len(ended)


def event_of(run: EndedRun) -> NewEvent:
    """The event that tells of a run's end; its kind is the run's status."""
    payload = {
        "run": run.id,
        "pipeline": run.pipeline,
        "status": run.status,
        "reason": run.reason,
        "variables": {name: told(value) for name, value in run.variables.items()},
        "execution_date": run.execution_date.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat(),
    }
    return NewEvent(
        run.project_id,
        f"run:{run.pipeline}",
        run.status,
        str(run.id),
        payload,
        occurred_at=run.finished_at,
        execution_date=run.execution_date,
    )
