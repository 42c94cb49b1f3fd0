"""Follows the caps of the gates that runs wait at: what files and triggers say now counts, not what they said when the
run was made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from headrace.domain.errors import HeadraceError
from headrace.domain.limits import RunLimits, cap_of
from headrace.domain.triggers import trigger_from_json
from headrace.engine.admitting import unpark
from headrace.engine.clock import Clock
from headrace.store.admissions import CrowdedGate, crowded_gates, keep_caps
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.triggers import trigger_row

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

ReadLimits = Callable[[str], RunLimits]
"""Gives the limits over runs of a pipeline as its files are now; raises ProjectFault."""


class UnknownCap(Exception):
    """What a gate's cap is now cannot be told: its pipeline or its trigger cannot be read."""


@dataclass
class CapFollower:
    """Looks after the gates of one project; `admit` is called when runs may pass that had to wait."""

    database: Database
    project_id: int
    read_limits: ReadLimits | None
    """None where nobody reads files: caps stay what they are."""
    admit: Callable[[], None]
    clock: Clock
    look_seconds: float = LOOK_SECONDS

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self.clock.sleep(self.look_seconds)
            try:
                await self.look()
            except DATABASE_AWAY as error:
                log.warning("limits cannot be followed (%s); trying again", error)

    async def look(self) -> None:
        """Take in caps that have changed, and have those looked at again that wait although there is room."""
        crowded = await crowded_gates(self.database, self.project_id)
        if not crowded:
            return
        if self.read_limits is not None and (changed := await self._changed(self.read_limits, crowded)):
            await keep_caps(self.database, changed)
        if await unpark(self.database, self.project_id):
            self.admit()

    async def _changed(self, read_limits: ReadLimits, crowded: Sequence[CrowdedGate]) -> dict[str, int | None]:
        """The caps that are others now than those in force."""
        look = _OneLook(self.database, self.project_id, read_limits)
        found: dict[str, int | None] = {}
        for gate in crowded:
            with suppress(UnknownCap):
                cap = await look.cap(gate)
                if cap != gate.cap:
                    found[gate.name] = cap
        return found


class _OneLook:
    """What one look has read already: many gates share a pipeline or a trigger."""

    def __init__(self, database: Database, project_id: int, read_limits: ReadLimits) -> None:
        self.database, self.project_id, self.read_limits = database, project_id, read_limits
        self._limits: dict[str, RunLimits | None] = {}
        self._triggers: dict[int, int | None] = {}

    async def cap(self, gate: CrowdedGate) -> int | None:
        """A gate's cap as it is now, None where it is no limit any more. Raises UnknownCap."""
        limits = await self._limits_of(gate.pipeline)
        own = None if gate.trigger_id is None else await self._own_limit(gate.trigger_id)
        return cap_of(gate.name, self.project_id, gate.pipeline, limits, gate.trigger_id, own)

    async def _limits_of(self, pipeline: str) -> RunLimits:
        if pipeline not in self._limits:
            try:
                self._limits[pipeline] = await asyncio.to_thread(self.read_limits, pipeline)
            except HeadraceError:
                self._limits[pipeline] = None
        found = self._limits[pipeline]
        if found is None:
            raise UnknownCap
        return found

    async def _own_limit(self, trigger: int) -> int | None:
        if trigger not in self._triggers:
            row = await trigger_row(self.database, trigger)
            if row is None or not row.row.definition:
                raise UnknownCap
            self._triggers[trigger] = trigger_from_json(row.row.definition).max_active_runs
        return self._triggers[trigger]
