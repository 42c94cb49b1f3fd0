"""Gets the slots that blocks of this service's runs need, and gives them back.

Slots are rows that are counted in the transaction that grants. One whose service died counts no more once its lease is
over and its run was fenced off: no slot can leak, and none is held by two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from headrace.domain.slots import Holder, grant_slots
from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.slots import (
    Ask,
    ask_for_slots,
    drop_dead_slots,
    lock_slots,
    note_granted_slots,
    pool_sizes,
    release_slots,
    slots_of_project,
    slots_of_runs,
)

log = logging.getLogger(__name__)

Needs = Mapping[str, int]
"""Pool to how many of its slots."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    ask: Ask
    granted: Callable[[], None]


@dataclass
class SlotKeeper:
    """Keeps the slots of one service's runs of a project."""

    database: Database
    project_id: int
    clock: Clock
    look_seconds: float = 0.5
    """How often it is asked whether another service gave slots back."""
    _waiting: dict[Holder, _Waiting] = field(default_factory=dict)
    _held: dict[Holder, int] = field(default_factory=dict)
    """Blocks that hold their slots, to the fencing token under which they do."""
    _asks: dict[Holder, Ask] = field(default_factory=dict)
    _releases: dict[Holder, int] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def holds(self, run: int, block: str) -> bool:
        """Whether a block has the slots that it asked for."""
        return (run, block) in self._held

    def ask(self, run: int, block: str, fence: int, needs: Needs, granted: Callable[[], None]) -> None:
        """Let a block wait for slots; `granted` is called once it holds them. Asking again changes nothing."""
        holder = (run, block)
        if holder in self._waiting or holder in self._held:
            return
        waiting = self._waiting[holder] = _Waiting(Ask(holder, fence, needs), granted)
        self._asks[holder] = waiting.ask
        self._woken.set()

    def release(self, run: int, block: str) -> None:
        """Give a block's slots back, or stop waiting for them."""
        holder = (run, block)
        waiting = self._waiting.pop(holder, None)
        fence = self._held.pop(holder, None) if waiting is None else waiting.ask.fence
        if fence is None:
            return
        self._asks.pop(holder, None)
        self._releases[holder] = fence
        self._woken.set()

    def forget(self, run: int) -> None:
        """Give back whatever a run's blocks hold or wait for."""
        for _, block in [holder for holder in (*self._waiting, *self._held) if holder[0] == run]:
            self.release(run, block)

    def wake(self) -> None:
        """Hear that slots may be free."""
        if self._waiting:
            self._woken.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._next_look()
            self._woken.clear()
            try:
                await self._look()
            except DATABASE_AWAY as error:
                log.warning("slots wait for the database (%s)", error)
                await self.clock.sleep(self.look_seconds)
                self._woken.set()

    async def _next_look(self) -> None:
        if not self._waiting:
            await self._woken.wait()
            return
        with anyio.move_on_after(self.look_seconds):
            await self._woken.wait()

    async def _look(self) -> None:
        if releases := dict(self._releases):
            await release_slots(self.database, releases)
            for holder, fence in releases.items():
                if self._releases.get(holder) == fence:
                    del self._releases[holder]
        if asks := list(self._asks.values()):
            await ask_for_slots(self.database, asks)
            for ask in asks:
                self._asks.pop(ask.holder, None)
        if self._waiting:
            await self._grant()
            await self._take()
        if releases:
            await self.database.waker.wake()

    async def _grant(self) -> None:
        async with self.database.transaction() as connection:
            await lock_slots(connection, self.project_id)
            await drop_dead_slots(connection, self.project_id)
            found = await slots_of_project(connection, self.project_id)
            granted = grant_slots(found.waiting, found.taken, await pool_sizes(connection, self.project_id))
            if granted:
                await note_granted_slots(connection, [request.holder for request in granted])

    async def _take(self) -> None:
        """Tell those that have got their slots; whoever's request is gone asks again."""
        found = await slots_of_runs(self.database, sorted({run for run, _ in self._waiting}))
        for holder, waiting in list(self._waiting.items()):
            if holder in self._releases:
                continue  # what it held before is still to be given back
            if found.get(holder):
                del self._waiting[holder]
                self._held[holder] = waiting.ask.fence
                waiting.granted()
            elif holder not in found:
                self._asks[holder] = waiting.ask
