"""Makes an event of each slot of every schedule, once, whatever the number of services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio
import asyncpg

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted
from headrace.domain.schedules import CatchUp, Schedule
from headrace.domain.triggers import TriggerKind
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.schedules import (
    CatchingUp,
    Progress,
    begin_catching_up,
    drop_catching_up,
    keep_patterns,
    progress_of,
    recent_runtimes,
)
from headrace.triggers.accepting import Acceptor
from headrace.triggers.alarm import LOOK_SECONDS, AlarmClock, Now
from headrace.triggers.always_on import AlwaysOn
from headrace.triggers.book import KnownTrigger, TriggerBook
from headrace.triggers.catching_up import MissedSlots, counts_since, plan_course
from headrace.triggers.making_up import MakingUp
from headrace.triggers.rounds import Rounds
from headrace.triggers.slots import Slots
from headrace.triggers.timing import TimedSlot, Timing, landing_lead
from headrace.triggers.watching import ScheduleStanding, Watch, Watches, source_of

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1000
"""Slots that are accepted together."""
LANDING_SECONDS = 60.0
"""How often it is looked at how long runs take that are to be done by a time."""
RETRY_SECONDS = (0.1, 5.0)
"""The first and the longest wait for a database that is away."""


def machine_time() -> datetime:
    """What the machine's clock shows."""
    return datetime.now(UTC)


class Timekeeper:
    """Follows the schedules of a service's triggers. Any number of services may: a slot's event has one key."""

    def __init__(
        self,
        database: Database,
        book: TriggerBook,
        acceptor: Acceptor,
        *,
        now: Now = machine_time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.database, self.book, self.acceptor, self.now, self.look_seconds = (
            database,
            book,
            acceptor,
            now,
            look_seconds,
        )
        self.edition = 0
        """The edition of the book whose schedules are followed."""
        self._watches = Watches()
        self._refused: dict[int, Schedule] = {}
        self._rung, self._ready = asyncio.Event(), asyncio.Event()
        self._alarm = AlarmClock(now, self._rung.set, look_seconds=look_seconds)
        missed, always_on = Rounds("missed slots", look_seconds), Rounds("triggers that are always on", look_seconds)
        self._making_up = MakingUp(database, acceptor, self._watches.made_up.values, missed)
        self.always_on = AlwaysOn(database, acceptor, self._watches.always_on.values, now, always_on)

    def standings(self) -> dict[int, ScheduleStanding]:
        """How far each schedule is that is followed here, by its trigger's id."""
        now = self.now()
        return {number: watch.standing(now) for number, watch in self._watches.all.items()}

    @property
    def refused(self) -> Collection[int]:
        """The triggers whose schedules cannot be followed here."""
        return self._refused.keys()

    async def ready(self) -> None:
        """Wait until the schedules were taken up once."""
        await self._ready.wait()

    async def run(self) -> None:
        """Serve until cancelled; may be run again after a fault."""
        self._alarm = AlarmClock(self.now, self._rung.set, look_seconds=self.look_seconds)
        self._alarm.start()
        try:
            for number, watch in self._watches.all.items():
                self._alarm.set(str(number), watch)
            async with anyio.create_task_group() as tasks:
                for part in (self._follow_book, self._follow_landings, self._making_up.run, self.always_on.run):
                    tasks.start_soon(part)
                await self._accept_due()
        finally:
            self._alarm.stop()

    async def _follow_book(self) -> None:
        await self.book.ready()
        while True:
            seen = self.book.edition
            try:
                await self._look()
                self.edition = seen
                self._ready.set()
            except DATABASE_AWAY as error:
                log.warning("schedules wait for the database (%s)", error)
                await anyio.sleep(self.look_seconds)
                continue
            if self.book.edition == seen:
                await self.book.changed()

    async def _look(self) -> None:
        """Take up the schedules that are new or changed, and let go of those that are no more."""
        known = {trigger.id: trigger for trigger in self.book.of_kind(TriggerKind.SCHEDULE)}
        for gone in self._watches.all.keys() - known.keys():
            self._alarm.unset(str(gone))
            self._watches.drop(gone)
        self._refused = {number: schedule for number, schedule in self._refused.items() if number in known}
        changed = [trigger for trigger in known.values() if not self._is_followed(trigger)]
        if changed:
            await self._take_up(changed)

    def _is_followed(self, known: KnownTrigger) -> bool:
        schedule, watch = schedule_of(known), self._watches.all.get(known.id)
        if watch is None or watch.schedule != schedule:
            return self._refused.get(known.id) == schedule
        watch.known = known
        return True

    async def _take_up(self, triggers: Sequence[KnownTrigger]) -> None:
        now = self.now()
        await keep_patterns(self.database, {source_of(known): schedule_of(known).pattern for known in triggers}, now)
        progress = await progress_of(self.database, [known.id for known in triggers])
        leads = await self._leads([known.id for known in triggers if schedule_of(known).landing_time])
        begun: list[Planned] = []
        for known, planned in await asyncio.to_thread(_planned, triggers, progress, leads, now):
            if isinstance(planned, Planned):
                begun.append(planned)
            else:
                log.error("schedule %s cannot be followed: %s", known.trigger.source, planned)
                self._refused[known.id] = schedule_of(known)
        await self._record_missed(begun)
        for item in begun:
            self._begin(item.watch)

    async def _record_missed(self, begun: Sequence[Planned]) -> None:
        given_up = [item.watch.source for item in begun if item.watch.schedule.catch_up is not CatchUp.ALL]
        await drop_catching_up(self.database, given_up)
        for item in begun:
            if item.missed is not None:
                missed = CatchingUp(*item.watch.source, item.missed.after, item.missed.until)
                await begin_catching_up(self.database, missed, item.missed.floor)
        self._making_up.wake()

    def _begin(self, watch: Watch) -> None:
        earlier = self._watches.all.get(watch.known.id)
        if earlier is not None:
            watch.pending.extendleft(reversed(earlier.pending))
            watch.late = earlier.late
        self._watches.put(watch)
        self._alarm.set(str(watch.known.id), watch)

    async def _accept_due(self) -> None:
        wait = RETRY_SECONDS[0]
        while True:
            await self._rung.wait()
            self._rung.clear()
            while batch := self._due():
                try:
                    await self._accept(batch)
                    wait = RETRY_SECONDS[0]
                except DATABASE_AWAY as error:
                    log.warning("%d slots wait for the database (%s)", len(batch), error)
                    await anyio.sleep(wait)
                    wait = min(wait * 2, RETRY_SECONDS[1])

    def _due(self) -> list[tuple[Watch, TimedSlot]]:
        """The next slot of each schedule that is due, in an order that all services share, so that none waits for one
        that waits for it. Of one schedule no slot goes before the one before it is an event: whoever takes the schedule
        up later goes on behind the last one that is.
        """
        waiting = sorted(
            (watch for watch in self._watches.all.values() if watch.pending), key=lambda watch: watch.source
        )
        return [(watch, watch.pending[0]) for watch in waiting[:MOST_AT_ONCE]]

    async def _accept(self, batch: Sequence[tuple[Watch, TimedSlot]]) -> None:
        try:
            answers = await self.acceptor.accept_all([watch.event(timed) for watch, timed in batch])
        except DATABASE_AWAY:
            raise
        except (HeadraceError, asyncpg.PostgresError):
            await self._accept_apart(batch)
            return
        for (watch, timed), accepted in zip(batch, answers, strict=True):
            self._note(watch, timed, accepted)
            self._let_go(watch)

    async def _accept_apart(self, batch: Sequence[tuple[Watch, TimedSlot]]) -> None:
        """One slot of the batch cannot be accepted: the others must not suffer for it."""
        for watch, timed in batch:
            try:
                self._note(watch, timed, await self.acceptor.accept(watch.event(timed)))
            except DATABASE_AWAY:
                raise
            except (HeadraceError, asyncpg.PostgresError) as error:
                log.error("the slot %s of %s cannot be accepted: %s", timed.slot.key, watch.source[1], error)
            self._let_go(watch)

    def _note(self, watch: Watch, timed: TimedSlot, accepted: Accepted) -> None:
        """Note how late a slot was; where another service was first, it knows."""
        if accepted.is_new:
            watch.late = watch.lateness(timed, self.now())
            self.acceptor.observer.slot_accepted(watch.late)

    def _let_go(self, watch: Watch) -> None:
        """Forget a schedule's first pending slot: it is an event."""
        was_crowded = watch.is_crowded
        watch.pending.popleft()
        if was_crowded:
            watch.take(self.now())

    async def _follow_landings(self) -> None:
        while True:
            await anyio.sleep(LANDING_SECONDS)
            try:
                await self.look_at_landings()
            except DATABASE_AWAY as error:
                log.warning("landing times wait for the database (%s)", error)

    async def look_at_landings(self) -> None:
        """Start runs that are to be done by a time as early as the last ones took."""
        landing = [watch for watch in self._watches.all.values() if watch.schedule.landing_time]
        leads = await self._leads([watch.known.id for watch in landing])
        for watch in landing:
            watch.timing.lead = leads.get(watch.known.id)
            self._alarm.set(str(watch.known.id), watch)

    async def _leads(self, triggers: Sequence[int]) -> dict[int, timedelta | None]:
        if not triggers:
            return {}
        runtimes = await recent_runtimes(self.database, triggers)
        return {trigger: landing_lead(seconds) for trigger, seconds in runtimes.items()}


def schedule_of(known: KnownTrigger) -> Schedule:
    """The schedule of a trigger that has one."""
    when = known.trigger.when
    assert isinstance(when, Schedule)  # noqa: S101 - the book sorts triggers by kind
    return when


@dataclass(frozen=True, slots=True)
class Planned:
    """A watch that has begun, and what is to be made up for."""

    watch: Watch
    missed: MissedSlots | None


def _planned(
    triggers: Sequence[KnownTrigger],
    progress: Mapping[int, Progress],
    leads: Mapping[int, timedelta | None],
    now: datetime,
) -> list[tuple[KnownTrigger, Planned | Exception]]:
    """How to go on with each schedule, or why this machine cannot follow it; those that are deleted are left out."""
    planned: list[tuple[KnownTrigger, Planned | Exception]] = []
    for known in triggers:
        if known.id not in progress:
            continue
        try:
            planned.append((known, _plan(known, progress[known.id], leads.get(known.id), now)))
        except (HeadraceError, LookupError, ValueError) as error:
            planned.append((known, error))
    return planned


def _plan(known: KnownTrigger, progress: Progress, lead: timedelta | None, now: datetime) -> Planned:
    schedule = schedule_of(known)
    since = counts_since(schedule, progress)
    timing = Timing(Slots(schedule, since), known.trigger.source, lead)
    course = plan_course(timing, progress, now)
    watch = Watch(known, timing, since)
    watch.begin(course.after, map(timing.between_neighbours, course.at_once))
    return Planned(watch, course.missed)
