"""The clock of schedules: APScheduler, which calls when the next of many is due and sleeps until then.

It keeps no truth. What is due is asked of each schedule anew, so that no slot hangs on a timer that was late, or on a
machine's clock that was set while it slept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

LOOK_SECONDS = 1.0
"""The longest sleep: a clock that is set forwards is noticed after so long."""

MOST_AT_A_TIME = 100
"""Of what is due at one moment, so many are looked at before others get their turn in the loop."""

Now = Callable[[], datetime]
"""Tells the time, in UTC."""

_log = logging.getLogger(f"{__name__}.apscheduler")
_log.setLevel(logging.WARNING)  # APScheduler tells of each job, several times


class Alarmed(Protocol):
    """Something that is due again and again."""

    def take(self, now: datetime) -> datetime | None:
        """Take what is due by now to be done, and tell when more will be; None for never."""
        ...


class _Trigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """APScheduler's question for the next time, passed on."""

    def __init__(self, alarmed: Alarmed) -> None:
        self.alarmed = alarmed

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return self.alarmed.take(now)


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]
    """APScheduler over a clock that it is given; its own asks the machine's."""

    def __init__(self, now: Now, look_seconds: float) -> None:
        super().__init__(logger=_log, timezone=UTC)
        self.now, self.look_seconds = now, look_seconds

    def _process_jobs(self) -> float | None:
        now = self.now()
        with self._jobstores_lock:
            store = self._jobstores["default"]
            for job in store.get_due_jobs(now)[:MOST_AT_A_TIME]:
                following = job.trigger.get_next_fire_time(job.next_run_time, now)
                job._modify(next_run_time=following)
                store.update_job(job)
                job.func(*job.args)
            due: datetime | None = store.get_next_run_time()
        if due is None:
            return None
        return min(max((due - self.now()).total_seconds(), 0.0), self.look_seconds)


class AlarmClock:
    """Calls `ring` whenever something that was set is due."""

    def __init__(self, now: Now, ring: Callable[[], None], *, look_seconds: float = LOOK_SECONDS) -> None:
        self.now, self.ring = now, ring
        self._scheduler = _Scheduler(now, look_seconds)

    def start(self) -> None:
        """Begin; there must be an event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Ring no more."""
        self._scheduler.shutdown(wait=False)

    def set(self, name: str, alarmed: Alarmed) -> None:
        """Ring when `alarmed` is due, and now if it is already. What was set by this name before is forgotten."""
        options: dict[str, Any] = {"id": name, "replace_existing": True, "next_run_time": self.now()}
        self._scheduler.add_job(self.ring, _Trigger(alarmed), **options)

    def unset(self, name: str) -> None:
        """Forget what was set by this name."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)
