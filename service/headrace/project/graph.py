"""Cycles among blocks, found in linear time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


def find_cycle(upstream: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The blocks of one cycle, the first repeated at the end; empty if there is none. Unknown names are passed over."""
    left = _blocked(upstream)
    if not left:
        return ()
    place: dict[str, int] = {}
    uuid = next(iter(left))
    while uuid not in place:
        place[uuid] = len(place)
        uuid = next(above for above in upstream[uuid] if above in left)
    trail = list(place)[place[uuid] :]
    return (*trail, uuid)


def _blocked(upstream: Mapping[str, Sequence[str]]) -> dict[str, None]:
    """Blocks that wait for a cycle, in the order given."""
    above = {uuid: {name for name in names if name in upstream} for uuid, names in upstream.items()}
    below: dict[str, list[str]] = {uuid: [] for uuid in upstream}
    for uuid, names in above.items():
        for name in names:
            below[name].append(uuid)
    missing = {uuid: len(names) for uuid, names in above.items()}
    ready = deque(uuid for uuid, count in missing.items() if count == 0)
    done: set[str] = set()
    while ready:
        uuid = ready.popleft()
        done.add(uuid)
        for name in below[uuid]:
            missing[name] -= 1
            if missing[name] == 0:
                ready.append(name)
    return {uuid: None for uuid in upstream if uuid not in done}
