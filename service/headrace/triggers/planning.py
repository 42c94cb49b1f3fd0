"""Plans what becomes of an event for each trigger that listens to it, before anything is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Fate, NewEvent
from headrace.store.events import PlannedEvent, PlannedFate
from headrace.triggers.book import KnownTrigger, TriggerBook
from headrace.triggers.matching import match_event
from headrace.triggers.pinning import PipelinePins, overrides_of

MANUAL = "manual"
"""The source of starts that somebody asked for."""


@dataclass(frozen=True)
class Planner:
    """Plans events of the projects that a service serves."""

    book: TriggerBook
    pins: PipelinePins

    async def plan(self, event: NewEvent) -> PlannedEvent:
        """What each listening trigger makes of an event; none where nobody listens."""
        listening = self.book.listening_to(event.project_id, event.source)
        return PlannedEvent(event, tuple([await self._fate(known, event) for known in listening]))

    async def plan_start(
        self, project_id: int, pipeline: str, variables: Mapping[str, Any], *, key: str | None, priority: int
    ) -> PlannedEvent:
        """A start that somebody asked for, as an event of its own. Raises ProjectFault for a broken pipeline."""
        version = await self.pins.pin(project_id, pipeline)
        event = NewEvent(project_id, MANUAL, "start", key or uuid4().hex, {"pipeline": pipeline})
        fate = PlannedFate(
            None, Fate.RUN, pipeline=pipeline, version=version, variables=dict(variables), priority=priority
        )
        return PlannedEvent(event, (fate,))

    async def _fate(self, known: KnownTrigger, event: NewEvent) -> PlannedFate:
        trigger = known.trigger
        match = match_event(trigger, event, known.project.environ)
        planned = PlannedFate(known.id, match.fate, match.reason, match.dedup_key)
        if match.fate is not Fate.RUN:
            return planned
        try:
            version = await self.pins.pin(event.project_id, trigger.pipeline, overrides_of(trigger))
        except HeadraceError as error:
            return replace(planned, fate=Fate.DEAD, dedup_key=None, reason=str(error))
        return replace(
            planned,
            pipeline=trigger.pipeline,
            version=version,
            variables=match.variables,
            priority=trigger.priority,
            execution_date=event.execution_date,
        )
