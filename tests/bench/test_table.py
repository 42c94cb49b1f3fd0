"""The gate of the bench: what the full form holds, what the short form lets pass, and that a slow machine excuses no ratio."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.table import SLACK, USUAL_COMMIT, Figure, Taken, figures_table

USUAL = (USUAL_COMMIT, USUAL_COMMIT)
SLOW = (USUAL_COMMIT, 3 * USUAL_COMMIT)


def time(value: float) -> Figure:
    return Figure("chain40", value, "ms a block", 1.5)


def ratio(value: float) -> Figure:
    return Figure("chain40 / floor", value, "x", 3.0)


def gain(value: float) -> Figure:
    return Figure("export / to_sql", value, "x", 8.0, more=True)


@pytest.mark.parametrize(
    ("figure", "held"), [(time(1.5), True), (time(1.51), False), (gain(8), True), (gain(7.9), False)]
)
def test_a_bar_is_held_up_to_the_bar_itself(figure: Figure, held: bool):
    assert figure.held() is held


@pytest.mark.parametrize(
    ("figure", "commits", "passed"),
    [
        (time(4.5), USUAL, True),
        (time(4.6), USUAL, False),
        (time(8.9), SLOW, True),
        (time(9.1), SLOW, False),
        (time(8.9), SLOW[::-1], True),
        (time(4.6), (USUAL_COMMIT / 2, USUAL_COMMIT * 1.5), False),
        (time(4.4), (USUAL_COMMIT / 4, USUAL_COMMIT / 2), True),
        (time(4.6), (USUAL_COMMIT / 4, USUAL_COMMIT / 2), False),
        (ratio(8.9), USUAL, True),
        (ratio(9.1), USUAL, False),
        (ratio(9.1), SLOW, False),
        (gain(2.7), USUAL, True),
        (gain(2.6), USUAL, False),
        (gain(2.6), SLOW, False),
        (Figure("burst", 51, "runs/s", 300, more=True), SLOW, True),
        (Figure("burst", 49, "runs/s", 300, more=True), SLOW, False),
        (Figure("burst", 99, "runs/s", 300, more=True), USUAL, False),
        (Figure("fan100", 0.89, "s", 0.15), SLOW, True),
        (Figure("memory", 1.2 * SLACK + 0.1, "GB", 1.2), SLOW, False),
        (Figure("idle", 3.1, "% of a core", 1.0), SLOW, False),
    ],
)  # fmt: skip
def test_the_short_form_fails_beyond_its_slack_which_only_times_stretch_and_only_on_a_slow_machine(
    figure: Figure, commits: tuple[float, float], passed: bool
):
    assert Taken(figure, commits).passed is passed


def shown(taken: list[Taken], *, short: bool) -> str:
    console = Console(width=140, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(figures_table(taken, short=short))
    return captured.get()


def test_the_table_tells_limit_and_reason():
    told = shown([Taken(time(10.0), SLOW), Taken(ratio(2.0), SLOW), Taken(gain(9.0))], short=True)
    chain, floor, export = told.splitlines()[1:]
    assert "no" in chain
    assert "failed 9 (machine 2.0x slower)" in chain
    assert "yes" in floor
    assert floor.split()[-1] == "9"
    assert export.split()[-1] == "2.67"


def test_the_full_form_has_no_other_limit_than_the_bar():
    assert "fails beyond" not in shown([Taken(time(1.0))], short=False)
