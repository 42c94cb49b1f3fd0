"""Pools and their slots in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.domain.slots import Holder, SlotRequest
from headrace.store.database import Database
from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A block that asks for slots under its run's fencing token."""

    holder: Holder
    fence: int
    slots: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ProjectSlots:
    """Who holds and who waits for a project's slots, in the order of granting."""

    taken: Mapping[str, int]
    waiting: tuple[SlotRequest, ...]


@dataclass(frozen=True, slots=True)
class SlotWait:
    """What a block waits for at one pool; `size` is None for a pool that no file names any more."""

    pool: str
    size: int | None
    holders: Sequence[str]
    ahead: int


async def keep_pools(database: Database, project: int, sizes: Mapping[str, int]) -> None:
    """Record the sizes of a project's pools; those not named stay as they are."""
    await database.execute(QUERIES["keep_pools"], project, list(sizes), list(sizes.values()))


async def ask_for_slots(database: Database, asks: Sequence[Ask]) -> None:
    """Let blocks wait for slots; asking again changes nothing."""
    rows = [(*ask.holder, pool, ask.fence, count) for ask in asks for pool, count in ask.slots.items()]
    await database.execute(QUERIES["ask_for_slots"], *(list(column) for column in zip(*rows, strict=True)))


async def lock_slots(connection: Any, project: int) -> None:
    """Keep others from granting slots of a project until the caller's transaction ends."""
    await connection.execute(QUERIES["lock_slots"], project, timeout=STATEMENT_SECONDS)


async def drop_dead_slots(connection: Any, project: int) -> None:
    """Forget slots whose run ended, was taken by another service, or is driven by nobody with a live lease.

    The last are fenced off first: a service that was only paused finds its writes refused.
    """
    await connection.execute(QUERIES["fence_off_dead_holders"], project, timeout=STATEMENT_SECONDS)
    await connection.execute(QUERIES["drop_dead_slots"], project, timeout=STATEMENT_SECONDS)


async def slots_of_project(connection: Any, project: int) -> ProjectSlots:
    """Every slot of a project. A block holds its slots only once all of them were granted."""
    rows = await connection.fetch(QUERIES["slots_of_project"], project, timeout=STATEMENT_SECONDS)
    taken: dict[str, int] = {}
    waiting: dict[Holder, dict[str, int]] = {}
    for row in rows:
        if row["granted"]:
            taken[row["pool"]] = taken.get(row["pool"], 0) + row["slots"]
        else:
            waiting.setdefault((row["run_id"], row["block"]), {})[row["pool"]] = row["slots"]
    return ProjectSlots(taken, tuple(SlotRequest(holder, slots) for holder, slots in waiting.items()))


async def pool_sizes(connection: Any, project: int) -> dict[str, int]:
    """The sizes of a project's pools."""
    rows = await connection.fetch(QUERIES["pool_sizes"], project, timeout=STATEMENT_SECONDS)
    return {row["name"]: row["size"] for row in rows}


async def note_granted_slots(connection: Any, holders: Sequence[Holder]) -> None:
    """Record that blocks hold the slots that they waited for."""
    await connection.execute(QUERIES["note_granted_slots"], *_columns(holders), timeout=STATEMENT_SECONDS)


async def slots_of_runs(database: Database, runs: Sequence[int]) -> dict[Holder, bool]:
    """Which blocks of some runs wait for slots (False) or hold all that they asked for (True)."""
    rows = await database.fetch(QUERIES["slots_of_runs"], list(runs))
    return {(row["run_id"], row["block"]): row["granted"] for row in rows}


async def release_slots(database: Database, holders: Mapping[Holder, int]) -> None:
    """Give slots back that were asked for under a fencing token, or stop waiting for them."""
    await database.execute(QUERIES["release_slots"], *_columns(list(holders)), list(holders.values()))


async def slots_in_the_way(database: Database, run: int, block: str) -> list[SlotWait]:
    """What a block waits for at each pool; none for one that waits for no slot."""
    return [SlotWait(**row) for row in await database.fetch(QUERIES["slots_in_the_way"], run, block)]


def _columns(holders: Sequence[Holder]) -> tuple[list[int], list[str]]:
    return [run for run, _ in holders], [block for _, block in holders]
