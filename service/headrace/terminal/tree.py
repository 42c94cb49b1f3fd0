"""A run as a tree of its blocks: a chain goes straight down, branches stand side by side, a join comes back in line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from headrace.engine.views import BlockRunView

Edges = tuple[tuple[str, tuple[str, ...]], ...]
"""Blocks in topological order, each with those right above it."""


def tree_lines(blocks: Sequence[BlockRunView]) -> list[tuple[str, BlockRunView]]:
    """Each block with what stands before its name, after all that it waits for; `blocks` in topological order."""
    known = {block.uuid: block for block in blocks}
    # A run of some blocks only has not everything that they are below of.
    edges = tuple((block.uuid, tuple(above for above in block.upstream if above in known)) for block in blocks)
    return [(prefix, known[uuid]) for prefix, uuid in _shape(edges)]


@lru_cache(maxsize=4)
def _shape(edges: Edges) -> list[tuple[str, str]]:
    """What a live tree would otherwise find out anew with each of its pictures."""
    above = dict(edges)
    children = _children(edges)
    levels = _levels(edges, children)
    return [(_prefix(levels, above[uuid], uuid), uuid) for uuid in _order(edges, children, levels)]


def _prefix(levels: Mapping[str, int], above: Sequence[str], uuid: str) -> str:
    level = levels[uuid]
    if level == 0:
        return ""
    begins = not above or (len(above) == 1 and level > levels[above[0]])
    return "│ " * (level - 1) + ("├ " if begins else "│ ")


def _children(edges: Edges) -> dict[str, list[str]]:
    """Each block's blocks right below; under the empty name those with nothing above."""
    children: dict[str, list[str]] = {uuid: [] for uuid in ("", *(uuid for uuid, _ in edges))}
    for uuid, above in edges:
        for one in above or ("",):
            children[one].append(uuid)
    return children


def _levels(edges: Edges, children: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How far each block is indented: a branch one more than its parent, a join as far as where its branches began."""
    gates: dict[str, str] = {}
    depth = {"": 0}
    levels = {"": 0}
    for uuid, above in edges:
        gate = _gate(above or ("",), gates, depth)
        gates[uuid], depth[uuid] = gate, depth[gate] + 1
        is_branch = len(above) <= 1 and len(children[gate]) > 1
        levels[uuid] = levels[gate] + is_branch
    return levels


def _gate(above: Sequence[str], gates: Mapping[str, str], depth: Mapping[str, int]) -> str:
    """The nearest block that every way to these blocks goes through (their common dominator), or the empty name."""
    gate = above[0]
    for other in above[1:]:
        while gate != other:
            if depth[gate] >= depth[other]:
                gate = gates[gate]
            else:
                other = gates[other]
    return gate


def _order(edges: Edges, children: Mapping[str, Sequence[str]], levels: Mapping[str, int]) -> list[str]:
    """Topological order in which a branch is told to its end before the next one begins."""
    missing = {uuid: len(above) for uuid, above in edges}
    ready, order = list(reversed(children[""])), []
    while ready:
        uuid = max(reversed(ready), key=lambda one: levels[one])
        ready.remove(uuid)
        order.append(uuid)
        for below in reversed(children[uuid]):
            missing[below] -= 1
            if not missing[below]:
                ready.append(below)
    return order
