"""Looks all the time, and at little cost, which schedules have slots without a good run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from headrace.domain.errors import HeadraceError
from headrace.domain.expressions import Word
from headrace.domain.intervals import BadInterval
from headrace.domain.retention import ProjectRetention
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import TriggerKind
from headrace.store.database import Database
from headrace.triggers.alarm import Now
from headrace.triggers.book import KnownTrigger, TriggerBook
from headrace.triggers.gaps import LOOK_BACK, GapSearch
from headrace.triggers.rounds import NOTHING_DUE, Rounds

log = logging.getLogger(__name__)

ROUND_SECONDS = 60.0
REST = 1000.0
"""How many times as long as it looked it then does nothing: thousands of schedules cost no more than a few."""
MOST_SLOTS = 5000
"""Schedules with more slots in the time that is looked at are looked at for less time."""
SHORTER = 4
"""By what the time becomes shorter then."""

ReadRetention = Callable[[], ProjectRetention]
"""Tells how long a project keeps its runs; may raise HeadraceError."""


@dataclass
class GapWatch:
    """Counts the gaps of every active schedule, one after the other. Each service counts for itself."""

    database: Database
    book: TriggerBook
    retentions: Mapping[int, ReadRetention]
    now: Now
    rounds: Rounds = field(default_factory=lambda: Rounds("the look for gaps", ROUND_SECONDS))
    rest: float = REST
    gaps: dict[int, int] = field(default_factory=dict)
    """How many slots without a good run were found last, by the trigger's id."""

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.rounds.run(self.look)

    async def look(self) -> float:
        """Look at every schedule once."""
        schedules = [known for known in self.book.of_kind(TriggerKind.SCHEDULE) if _has_slots(known)]
        active = {known.id for known in schedules}
        self.gaps = {number: count for number, count in self.gaps.items() if number in active}
        began = perf_counter()
        retentions = {number: await self._retention(number) for number in {known.project.id for known in schedules}}
        await self._rest(began)
        for known in schedules:
            began = perf_counter()
            self._note(known, await self._count(known, retentions[known.project.id]))
            await self._rest(began)
        return NOTHING_DUE

    async def _rest(self, began: float) -> None:
        await asyncio.sleep((perf_counter() - began) * self.rest)

    async def kept(self, project: int, pipeline: str) -> float | None:
        """Seconds for which a pipeline's ended runs are kept; None for ever."""
        return (await self._retention(project)).of(pipeline).runs

    async def _retention(self, project: int) -> ProjectRetention:
        try:
            return await asyncio.to_thread(self.retentions[project])
        except HeadraceError:  # the files of the project are broken just now: it is told elsewhere
            return ProjectRetention()

    async def _count(self, known: KnownTrigger, retention: ProjectRetention) -> int:
        schedule, back = known.trigger.when, LOOK_BACK
        assert isinstance(schedule, Schedule)  # noqa: S101 - only those are looked at
        kept = retention.of(known.trigger.pipeline).runs
        search = GapSearch(self.database, known.project.id, known.trigger, schedule, kept)
        now = self.now()
        usual = await search.usual_start(now)
        while True:
            try:
                return len(await search.find(max(usual, now - back), now, most=MOST_SLOTS))
            except BadInterval:
                back /= SHORTER

    def _note(self, known: KnownTrigger, count: int) -> None:
        if count > self.gaps.get(known.id, 0):
            name = f"{known.trigger.pipeline}/{known.trigger.name}"
            counted = "a slot" if count == 1 else f"{count} slots"
            log.warning("%s has %s without a good run: see `headrace schedule gaps %s`", name, counted, name)
        self.gaps[known.id] = count


def _has_slots(known: KnownTrigger) -> bool:
    return isinstance(known.trigger.when, Schedule) and not known.trigger.when.has(Word.ALWAYS_ON)
