"""Lets the engines of a process hold runs from the moment at which they are made: one commit less before they start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.store.events import ProjectRun
from headrace.store.runs import Claimant

if TYPE_CHECKING:  # an engine is only loaded by those who drive
    from headrace.engine.engine import Engine


@dataclass(frozen=True)
class Offer:
    """The room that engines have now. What is claimed for them must be handed to `take` before the offer ends."""

    engines: Mapping[int, Engine] = field(default_factory=dict)
    claimants: Sequence[Claimant] = ()

    def take(self, runs: Sequence[ProjectRun]) -> None:
        """Have runs driven, each by the engine of its project."""
        for project_id, run in runs:
            self.engines[project_id].adopt(run)


@dataclass
class Births:
    """The engines that may hold new runs; none where nothing is driven."""

    engines: Sequence[Engine] = ()

    @asynccontextmanager
    async def offered(self) -> AsyncIterator[Offer]:
        """What the engines offer that have nothing else to do; meanwhile they claim nothing by themselves."""
        async with AsyncExitStack() as stack:
            engines: dict[int, Engine] = {}
            claimants: list[Claimant] = []
            for engine in self.engines:
                room = engine.room_at_birth
                if room > 0:
                    await stack.enter_async_context(engine.birth())
                    engines[engine.project_id] = engine
                    claimants.append(Claimant(engine.project_id, engine.id, room))
            yield Offer(engines, claimants)
