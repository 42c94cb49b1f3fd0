"""What a measure gives, and the table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

SLACK = 3.0
"""The short form fails only beyond this multiple of a bar: its machines are shared and noisy."""


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
        return self.value >= self.bar / slack if self.more else self.value <= self.bar * slack


def figures_table(figures: Sequence[Figure]) -> Table:
    """Every figure with its bar and its floor."""
    table = Table(box=None, header_style="bold")
    for name in ("measure", "value", "bar", "held", "floor in the same run"):
        table.add_column(name)
    for figure in figures:
        sign = "≥" if figure.more else "≤"
        held = "[green]yes[/]" if figure.held() else "[red]no[/]"
        value = f"{figure.value:.3g} {figure.unit}"
        table.add_row(figure.name, value, f"{sign} {figure.bar:g} {figure.unit}", held, figure.floor)
    return table
