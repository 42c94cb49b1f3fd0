"""Slots of pools: how many blocks may use a thing at once, and who of those that wait is next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Holder = tuple[int, str]
"""A run and a block of it."""


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """A block that waits for slots: of each pool that it names so many, all at once or none."""

    holder: Holder
    slots: Mapping[str, int]


def grant_slots(
    waiting: Sequence[SlotRequest], taken: Mapping[str, int], sizes: Mapping[str, int]
) -> list[SlotRequest]:
    """Who gets slots now, of those that wait in their order.

    Whoever does not fit keeps those behind it from passing at the pools it waits for, so that nobody waits for ever. A
    request for more than a pool has is granted once the pool is empty. A pool without a size has no bound.
    """
    used = dict(taken)
    closed: set[str] = set()
    granted: list[SlotRequest] = []
    for request in waiting:
        full = {name for name, count in request.slots.items() if not _fits(count, used.get(name, 0), sizes.get(name))}
        if full or closed & request.slots.keys():
            closed |= full
            continue
        granted.append(request)
        for name, count in request.slots.items():
            used[name] = used.get(name, 0) + count
    return granted


def _fits(count: int, used: int, size: int | None) -> bool:
    return size is None or used + count <= size or used == 0
