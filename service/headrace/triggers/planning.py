"""Plans what becomes of an event for each trigger that listens to it, before anything is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Fate, NewEvent
from headrace.domain.limits import Gate
from headrace.domain.pipeline import Pipeline
from headrace.domain.triggers import AtLimit, Trigger
from headrace.project.gates import run_gates
from headrace.project.plain import UnusableVariable, kept_variables
from headrace.store.events import PlannedEvent, PlannedFate, TriggerLimit
from headrace.triggers.book import KnownTrigger, TriggerBook
from headrace.triggers.matching import match_event
from headrace.triggers.pinning import NO_OVERRIDES, PipelinePins, overrides_of


@dataclass(frozen=True)
class Planner:
    """Plans events of the projects that a service serves."""

    book: TriggerBook
    pins: PipelinePins

    async def plan(self, event: NewEvent) -> PlannedEvent:
        """What each listening trigger makes of an event; none where nobody listens. Raises NewerRecord."""
        self.book.require_known(event.project_id, event.source)
        listening = self.book.listening_to(event.project_id, event.source)
        fates = tuple([await self._fate(known, event) for known in listening])
        return PlannedEvent(event, fates, _storable(event.variables))

    def plan_dead(self, event: NewEvent, reason: str) -> PlannedEvent:
        """An event of which no listening trigger can make anything. Raises NewerRecord."""
        self.book.require_known(event.project_id, event.source)
        listening = self.book.listening_to(event.project_id, event.source)
        return PlannedEvent(event, tuple(PlannedFate(known.id, Fate.DEAD, reason) for known in listening))

    async def plan_start(
        self, event: NewEvent, pipeline: str, *, priority: int, known: KnownTrigger | None = None
    ) -> PlannedEvent:
        """An event that asks for a run of `pipeline` itself, as one of the trigger `known` where that is given.

        The trigger's limit lets the run wait, whatever it does to others. Raises ProjectFault, UnusableVariable, and
        TemplateError for a key of the pipeline that cannot be rendered.
        """
        overrides = NO_OVERRIDES if known is None else overrides_of(known.trigger)
        pinned = await self.pins.pin(event.project_id, pipeline, overrides)
        given = kept_variables(event.variables)
        gates = run_gates(
            event.project_id,
            pinned.pipeline,
            given,
            self.book.environ(event.project_id),
            trigger=None if known is None else known.id,
            trigger_cap=None if known is None else known.trigger.max_active_runs,
        )
        fate = PlannedFate(
            None if known is None else known.id,
            Fate.RUN,
            pipeline=pipeline,
            version=pinned.version,
            variables=given,
            priority=priority,
            execution_date=event.execution_date,
            gates=gates,
        )
        return PlannedEvent(event, (fate,), given)

    async def _fate(self, known: KnownTrigger, event: NewEvent) -> PlannedFate:
        trigger = known.trigger
        match = match_event(trigger, event, known.project.environ)
        planned = PlannedFate(known.id, match.fate, match.reason, match.dedup_key)
        if match.fate is not Fate.RUN:
            return planned
        try:
            pinned = await self.pins.pin(event.project_id, trigger.pipeline, overrides_of(trigger))
            gates, limit = limits_of(known, pinned.pipeline, match.variables or {})
        except HeadraceError as error:
            return replace(planned, fate=Fate.DEAD, dedup_key=None, reason=str(error))
        return replace(
            planned,
            pipeline=trigger.pipeline,
            version=pinned.version,
            variables=match.variables,
            priority=trigger.priority,
            execution_date=event.execution_date,
            gates=gates,
            limit=limit,
        )


def _storable(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event's variables as they are kept with it; those with which no run could be made are not."""
    try:
        return kept_variables(variables)
    except UnusableVariable:
        return {}


def limits_of(
    known: KnownTrigger, pipeline: Pipeline, variables: Mapping[str, Any]
) -> tuple[tuple[Gate, ...], TriggerLimit | None]:
    """The gates of a trigger's run, and the limit that leaves events out instead. Raises TemplateError."""
    trigger = known.trigger
    most = pipeline.run_limits.per_trigger if trigger.max_active_runs is None else trigger.max_active_runs
    at_limit = AtLimit.SKIP if _skips(trigger, pipeline) else trigger.at_limit
    gates = run_gates(
        known.project.id,
        pipeline,
        variables,
        known.project.environ,
        trigger=known.id,
        trigger_cap=trigger.max_active_runs,
    )
    return gates, None if most is None or at_limit is AtLimit.QUEUE else TriggerLimit(most, at_limit)


def _skips(trigger: Trigger, pipeline: Pipeline) -> bool:
    """Whether the pipeline says skip for a trigger that has no limit of its own."""
    return pipeline.run_limits.skip and trigger.max_active_runs is None
