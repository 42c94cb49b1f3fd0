"""The shape of a run's tree: what stands before each name, and in which order."""

from __future__ import annotations

import time

import pytest
from headrace.engine.views import BlockRunView
from headrace.terminal.tree import tree_lines


def block(uuid: str, *upstream: str) -> BlockRunView:
    return BlockRunView(uuid, "custom", upstream, "completed", 1, None, None, None, None, None, None, 0)


def drawn(blocks: list[BlockRunView]) -> list[str]:
    return [f"{prefix}{view.uuid}" for prefix, view in tree_lines(blocks)]


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ("a; b a; c b", ["a", "b", "c"]),
        ("a; b a; c a; d a; e b c d", ["a", "├ b", "├ c", "├ d", "e"]),
        ("a; b a; c a; b2 b; c2 c; e b2 c2; f e", ["a", "├ b", "│ b2", "├ c", "│ c2", "e", "f"]),
        ("a; b a; c a; d a; e b c", ["a", "├ b", "├ c", "├ d", "e"]),
        ("a; b a; c a b", ["a", "├ b", "c"]),
        ("a; b", ["├ a", "├ b"]),
        ("a; b; c a; d b; e c d", ["├ a", "│ c", "├ b", "│ d", "e"]),
        ("a; b a; c a; x b; y b; z x y; e c z", ["a", "├ b", "│ ├ x", "│ ├ y", "│ z", "├ c", "e"]),
    ],
)
def test_a_chain_goes_down_branches_stand_side_by_side_and_a_join_comes_back(edges, expected):
    assert drawn([block(*edge.split()) for edge in edges.split("; ")]) == expected


def test_blocks_above_that_are_not_in_the_run_are_not_asked_for():
    assert drawn([block("c", "a", "b"), block("d", "c")]) == ["c", "d"]


def test_no_block_stands_above_one_that_it_waits_for():
    names = [f"b{n}" for n in range(60)]
    blocks = [block(name, *names[max(0, n - n % 7) : n : 3]) for n, name in enumerate(names)]
    order = [view.uuid for _, view in tree_lines(blocks)]
    assert sorted(order) == sorted(names)
    assert all(order.index(above) < order.index(view.uuid) for view in blocks for above in view.upstream)


def test_a_wide_fan_is_drawn_again_without_being_laid_out_again():
    names = [f"b{n}" for n in range(2000)]
    blocks = [block("a"), *(block(name, "a") for name in names), block("z", *names)]
    first = drawn(blocks)
    began = time.process_time()
    assert drawn(blocks) == first
    assert time.process_time() - began < 0.5
