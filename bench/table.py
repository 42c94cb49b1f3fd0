"""What a measure gives, the gate that it must pass, and the table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

SLACK = 3.0
"""The short form fails only beyond this multiple of a bar: its machines are shared and noisy."""

USUAL_COMMIT = 0.0004
"""Seconds that one bare commit takes on the kind of machine for which the bars were set."""

TIMES = frozenset({"s", "ms", "ms a block", "runs/s"})
"""Units of figures that a slower machine makes worse. A ratio has its floor in it, and memory is memory."""


@dataclass(frozen=True)
class Figure:
    """One figure: `value` must be at most `bar` (at least, where `more` is better)."""

    name: str
    value: float
    unit: str
    bar: float
    floor: str = ""
    more: bool = False

    def held(self, slack: float = 1.0) -> bool:
        """Whether the value is within the bar, or within `slack` times the bar."""
        return self.value >= self.bar / slack if self.more else self.value <= self.bar * slack


@dataclass(frozen=True)
class Taken:
    """A figure with the time of a bare commit, in seconds, before and after it was taken."""

    figure: Figure
    commits: tuple[float, float] = (USUAL_COMMIT, USUAL_COMMIT)

    @property
    def slack(self) -> float:
        """The multiple of its bar beyond which the short form fails.

        A time gets as much more as the machine was slower than usual around it, by the mean of the two commits; never
        less. A ratio gets nothing more: it tells the same on any machine.
        """
        slower = max(1.0, sum(self.commits) / 2 / USUAL_COMMIT)
        return SLACK * slower if self.figure.unit in TIMES else SLACK

    @property
    def passed(self) -> bool:
        """Whether the short form lets it pass."""
        return self.figure.held(self.slack)


def figures_table(taken: Sequence[Taken], *, short: bool = False) -> Table:
    """Every figure with its bar and its floor; in the short form also with the limit beyond which it fails."""
    table = Table(box=None, header_style="bold")
    for name in ("measure", "value", "bar", "held", *(["fails beyond"] if short else []), "floor in the same run"):
        table.add_column(name)
    for one in taken:
        figure = one.figure
        sign = "≥" if figure.more else "≤"
        held = "[green]yes[/]" if figure.held() else "[red]no[/]"
        cells = [figure.name, f"{figure.value:.3g} {figure.unit}", f"{sign} {figure.bar:g} {figure.unit}", held]
        if short:
            cells.append(_limit(one))
        table.add_row(*cells, figure.floor)
    return table


def _limit(one: Taken) -> str:
    """The limit as it is here, and why it is not the usual one."""
    figure, slack = one.figure, one.slack
    limit = figure.bar / slack if figure.more else figure.bar * slack
    mark = "" if one.passed else "[red]failed[/] "
    slower = f" (machine {slack / SLACK:.1f}x slower)" if slack > SLACK else ""
    return f"{mark}{limit:.3g}{slower}"
