"""Runs in the terminal: the live tree, the list, the errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headrace.engine.views import BlockRunView, RunSummary, RunView
from headrace.terminal.looks import counted, duration, moment, status_text


class RunTree:
    """A run as a tree of its blocks, drawn anew each time it is shown, so that durations go on."""

    def __init__(self, view: RunView) -> None:
        self.view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield run_tree(self.view)


def run_tree(view: RunView) -> RenderableType:
    """The run's line, then a line a block, indented by its depth in the graph."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for _ in range(4):
        table.add_column()
    depths = _depths(view.blocks)
    for block in view.blocks:
        indent = "  " * depths[block.uuid] + ("└ " if depths[block.uuid] else "")
        table.add_row(
            f"{indent}{escape(block.uuid)}",
            status_text(block.status),
            f"[dim]{duration(block.started_at, block.finished_at) if block.attempt else ''}[/]",
            f"[dim]{escape(_remark(block))}[/]",
        )
    head = f"[bold]{escape(view.pipeline)}[/] run {view.id}  {status_text(view.status)}"
    took = duration(view.started_at, view.finished_at)
    return Group(Text.from_markup(f"{head}  [dim]{took}[/]"), table)


def _depths(blocks: Sequence[BlockRunView]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for block in blocks:
        depths[block.uuid] = 1 + max((depths.get(above, -1) for above in block.upstream), default=-1)
    return depths


def _remark(block: BlockRunView) -> str:
    told = [block.reason] if block.reason else []
    if block.rows is not None:
        told.append(counted(block.rows, "row"))
    if block.attempt > 1:
        told.append(f"attempt {block.attempt}")
    return " · ".join(told)


def run_error(view: RunView) -> RenderableType | None:
    """Why the run did not end well, with the user's own traceback."""
    failed = [block for block in view.blocks if block.status == "failed"]
    if not failed:
        return Text(view.reason, style="magenta") if view.reason and view.status != "completed" else None
    return Group(*(_error_panel(block) for block in failed))


def _error_panel(block: BlockRunView) -> Panel:
    error = block.error or {}
    text = str(error.get("text") or "").strip() or f"{error.get('type', '')}: {error.get('message', '')}"
    return Panel(Text(text), title=f"{block.uuid} · attempt {block.attempt}", title_align="left", border_style="red")


def runs_table(runs: Iterable[RunSummary]) -> Table:
    """A list of runs, newest first."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name, justify in (("run", "right"), ("pipeline", "left"), ("status", "left"), ("blocks", "right"),
                          ("created", "left"), ("took", "right")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for run in runs:
        table.add_row(
            str(run.id),
            escape(run.pipeline),
            status_text(run.status),
            f"{run.blocks_done}/{run.blocks_total}",
            moment(run.created_at),
            duration(run.started_at, run.finished_at),
        )
    return table


def changed_lines(before: RunView | None, view: RunView) -> list[str]:
    """A line for each block whose status changed: for output that is not a terminal."""
    earlier = {block.uuid: block.status for block in before.blocks} if before else {}
    lines = [
        f"{block.uuid}: {block.status}" + (f" ({_remark(block)})" if _remark(block) else "")
        for block in view.blocks
        if block.status != earlier.get(block.uuid, "initial")
    ]
    if before is None or before.status != view.status:
        lines.append(f"run {view.id} of {view.pipeline}: {view.status}" + (f" ({view.reason})" if view.reason else ""))
    return lines
