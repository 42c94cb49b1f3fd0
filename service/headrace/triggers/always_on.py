"""Keeps `@always_on` triggers running: a new run whenever none of the trigger is under way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from headrace.domain.errors import HeadraceError
from headrace.domain.events import NewEvent
from headrace.domain.schedules import Schedule
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.schedules import IdleTrigger, idle_triggers
from headrace.triggers.accepting import Acceptor
from headrace.triggers.alarm import Now
from headrace.triggers.rounds import NOTHING_DUE, Rounds
from headrace.triggers.timing import interval_variables
from headrace.triggers.watching import Watch

log = logging.getLogger(__name__)

KIND = "always_on"
"""The kind of the events that keep a trigger running."""
REFUSED_SECONDS = 60.0
"""How long it is waited after an event that made no run."""


@dataclass
class AlwaysOn:
    """Looks after triggers that are always on, which `watches` gives."""

    database: Database
    acceptor: Acceptor
    watches: Callable[[], Iterable[Watch]]
    now: Now
    rounds: Rounds

    def wake(self) -> None:
        """Hear that some run has ended."""
        self.rounds.wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.rounds.run(self._round)

    async def _round(self) -> float:
        try:
            await self.look()
        except DATABASE_AWAY:
            raise
        except (HeadraceError, asyncpg.PostgresError) as error:
            log.error("an event that keeps a trigger on cannot be recorded: %s", error)
        return NOTHING_DUE

    async def look(self) -> None:
        """Start a run of each trigger that has none under way."""
        now = self.now()
        watches = {watch.known.id: watch for watch in self.watches() if is_on(watch.schedule, now)}
        if not watches:
            return
        idle = [trigger for trigger in await idle_triggers(self.database, list(watches)) if _is_due(trigger)]
        await self.acceptor.accept_all([_event(watches[trigger.trigger_id], trigger, now) for trigger in idle])


def is_on(schedule: Schedule, now: datetime) -> bool:
    """Whether a schedule that is always on is so now."""
    return (schedule.start is None or schedule.start <= now) and (schedule.end is None or now <= schedule.end)


def _is_due(trigger: IdleTrigger) -> bool:
    return trigger.made_run or trigger.seconds_ago >= REFUSED_SECONDS


def _event(watch: Watch, trigger: IdleTrigger, now: datetime) -> NewEvent:
    """The event after a trigger's last one: services that see the same last one make the same event."""
    project, source = watch.source
    return NewEvent(
        project,
        source,
        KIND,
        f"after event {trigger.last_event}",
        occurred_at=now,
        variables=interval_variables(now, None, None),
        execution_date=now,
    )
