"""The measures of the bench are taken apart from each other, so that their order changes nothing."""

from __future__ import annotations

import os

from bench import __main__ as command
from bench.__main__ import as_taken, as_text, take_apart
from bench.table import Figure, Taken


def test_figures_come_through_as_they_were():
    taken = [
        Taken(Figure("export / to_sql", 9.5, "x", 8.0, "to_sql 3 s", more=True), (0.0004, 0.0006)),
        Taken(Figure("a", 1, "s", 2)),
    ]
    assert as_taken(as_text(taken)) == taken


def test_a_measure_is_taken_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setitem(os.environ, "HEADRACE_DATABASE_URL", "postgresql://nobody@/nowhere?host=/nowhere")
    monkeypatch.setitem(command.MEASURES, "idle", None)
    figures = [one.figure for one in take_apart("idle", short=True)]
    assert [figure.name for figure in figures] == ["idle, processor", "idle, memory"]
    processor, memory = (figure.value for figure in figures)
    assert processor >= 0, "who is at rest may use less of the processor than its clock shows"
    assert memory > 0
