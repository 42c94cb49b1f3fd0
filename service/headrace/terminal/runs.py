"""Runs as people see them: the tree, the list, a line a change, and why one failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from headrace.domain.statuses import BLOCK_TERMINAL, RUN_TERMINAL
from headrace.engine.views import BlockRunView, RunSummary, RunView
from headrace.terminal.looks import counted, duration, glyph, moment, status_text, words
from headrace.terminal.tree import tree_lines

NARROW = 64
"""Below so many columns glyphs stand for the words of statuses, and remarks are left to those who need them."""

_LAST_TO_GO = (
    "failed",
    "running",
    "queued",
    "cancelled",
    "upstream_failed",
    "condition_failed",
    "initial",
    "completed",
)
"""Statuses in the order in which their blocks stay in a picture that has not room for all."""

_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")


class RunTree:
    """A run as a tree of its blocks, drawn anew each time it is shown, so that durations go on.

    `most` is how many lines it may take; then blocks that nobody waits to see are counted in one line.
    """

    def __init__(self, view: RunView, *, note: str = "", most: int | None = None) -> None:
        self.view = view
        self.note = note
        self.most = most

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = tree_lines(self.view.blocks)
        shown = lines if self.most is None else _fitting(lines, self.most - 3 - bool(self.note))
        yield _head(self.view, options.max_width)
        yield from _block_lines(shown, options.max_width)
        if len(shown) < len(lines):
            left_out = {block.uuid for _, block in lines} - {block.uuid for _, block in shown}
            yield _counts([block for _, block in lines if block.uuid in left_out])
        if self.note:
            yield Text(self.note, "magenta")


def _head(view: RunView, width: int) -> Text:
    text = Text.assemble((view.pipeline, "bold"), f" run {view.id}  ", status_text(view.status))
    text.append(f"  {duration(view.started_at, view.finished_at)}", "dim")
    text.append("  past its sla" if view.passed_sla else "", "yellow")
    done = sum(block.status in BLOCK_TERMINAL for block in view.blocks)
    if view.status not in RUN_TERMINAL:
        text.append(f"  {done}/{len(view.blocks)}" + (" blocks" if width >= NARROW else ""), "dim")
        text.append(f"  {view.reason}" if view.reason else "", "dim")
    text.truncate(width, overflow="ellipsis")
    return text


def _block_lines(lines: Sequence[tuple[str, BlockRunView]], width: int) -> Iterator[Text]:
    """A line a block: name, status, time, remark. What lacks room goes in the opposite order."""
    names = [Text.assemble((prefix, "dim"), glyph(block.status), f" {block.uuid}") for prefix, block in lines]
    spoken = max((len(words(block.status)) for _, block in lines), default=0) if width >= NARROW else 0
    took = [duration(block.started_at, block.finished_at) if block.attempt else "" for _, block in lines]
    timed = max(*(len(text) for text in took), 6) if took else 0
    named = min(max((name.cell_len for name in names), default=0), max(width - spoken - timed - 6, 8))
    for name, (_, block), time in zip(names, lines, took, strict=True):
        line = _cell(name, named)
        if spoken:
            line.append_text(_cell(Text(words(block.status), glyph(block.status).style), spoken))
        line.append(f"{time:>{timed}}  ", "dim")
        line.append(_remark(block), "dim")
        line.truncate(width, overflow="ellipsis")
        line.rstrip()
        yield line


def _cell(text: Text, width: int) -> Text:
    """A text made just so wide, with a gap after it."""
    text.truncate(width, overflow="ellipsis")
    text.pad_right(width - text.cell_len + 2)
    return text


def _fitting(lines: Sequence[tuple[str, BlockRunView]], most: int) -> Sequence[tuple[str, BlockRunView]]:
    """At most so many lines, in their order: what goes on or went wrong stays, what is over or far off goes first."""
    if len(lines) <= most:
        return lines
    ranked = sorted(range(len(lines)), key=lambda place: (_last_to_go(lines[place][1].status), place))
    kept = set(ranked[: max(most - 1, 1)])
    return [line for place, line in enumerate(lines) if place in kept]


def _last_to_go(status: str) -> int:
    return _LAST_TO_GO.index(status) if status in _LAST_TO_GO else -1


def _counts(blocks: Sequence[BlockRunView]) -> Text:
    """How many blocks of each status have no line of their own."""
    seen = sorted({block.status for block in blocks}, key=_last_to_go)
    counts = {status: sum(block.status == status for block in blocks) for status in seen}
    told = ", ".join(f"{count} {words(status)}" for status, count in counts.items() if count)
    return Text(f"… and {told}", "dim")


def _remark(block: BlockRunView) -> str:
    told = [_ISO_TIME.sub(_local_time, block.reason)] if block.reason else []
    if block.rows is not None:
        told.append(counted(block.rows, "row"))
    if block.attempt > 1:
        told.append(f"attempt {block.attempt}")
    return " · ".join(told)


def _local_time(match: re.Match[str]) -> str:
    return datetime.fromisoformat(match[0]).astimezone().strftime("%H:%M:%S")


def run_error(view: RunView, *, is_plain: bool) -> RenderableType | None:
    """Why a run did not end well: each failed block's own traceback, else the run's reason; None for other runs."""
    failed = [block for block in view.blocks if block.status == "failed"]
    if failed and view.status in RUN_TERMINAL:
        return Group(*(_plain_error(block) if is_plain else _titled_error(block) for block in failed))
    return Text(view.reason, "magenta") if view.reason and view.status in ("failed", "cancelled") else None


def _titled_error(block: BlockRunView) -> RenderableType:
    """The traceback bare, for copying, under a line across the terminal."""
    return Group(Rule(_error_title(block), align="left", style="red"), _error_text(block))


def _plain_error(block: BlockRunView) -> Text:
    return Text(f"{_error_title(block)}:\n{_error_text(block)}", overflow="ignore")


def _error_title(block: BlockRunView) -> str:
    return f"{block.uuid} failed" + (f" at attempt {block.attempt}" if block.attempt > 1 else "")


def _error_text(block: BlockRunView) -> Text:
    """The traceback; of failed tests what they said, of what has no traceback its message."""
    error = block.error or {}
    message = f"{error.get('type', '')}: {error.get('message', '')}".removeprefix(": ")
    told = str(error.get("message", "")) if error.get("kind") == "test" else str(error.get("text") or "").strip()
    return Text.from_ansi(told or message)


def runs_table(runs: Sequence[RunSummary], width: int) -> Table:
    """A list of runs, newest first; columns that a narrow terminal has no room for are left out."""
    is_narrow = width < NARROW
    table = Table(box=None, header_style="dim", pad_edge=False, expand=False)
    table.add_column("run", justify="right", no_wrap=True)
    table.add_column("pipeline", no_wrap=True, overflow="ellipsis")
    table.add_column("status", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    if not is_narrow:
        table.add_column("blocks", justify="right", no_wrap=True)
        table.add_column("created", no_wrap=True)
    for run in runs:
        more = () if is_narrow else (f"{run.blocks_done}/{run.blocks_total}", moment(run.created_at))
        took = duration(run.started_at, run.finished_at)
        table.add_row(str(run.id), Text(run.pipeline), _status_of(run), took, *more)
    return table


def _status_of(run: RunSummary) -> Text:
    """A run's status, marked where nobody brings it forward."""
    text = status_text(run.status)
    return text.append(" (waits)", "yellow") if run.reason and run.status in ("initial", "running") else text


def new_lines(seen: set[tuple[str, int, str]], view: RunView) -> list[str]:
    """A line for each block and run whose status was not `seen` yet in this attempt; adds to `seen`.

    So a sensor that looks a thousand times is told of once, and each retry again.
    """
    lines = [
        _line(f"{block.uuid}: {words(block.status)}", _took(block), _remark(block))
        for block in view.blocks
        if _is_news(block) and _first_time(seen, (block.uuid, block.attempt, block.status))
    ]
    if not _first_time(seen, ("", view.id, view.status)):
        return lines
    if view.status == "initial":
        return [f"run {view.id} of {view.pipeline}", *lines]
    took = duration(view.started_at, view.finished_at) if view.finished_at else ""
    own = _line(f"run {view.id} of {view.pipeline}: {words(view.status)}", took, view.reason or "")
    return [*lines, own] if view.status in RUN_TERMINAL else [own, *lines]


def _first_time(seen: set[tuple[str, int, str]], key: tuple[str, int, str]) -> bool:
    is_new = key not in seen
    seen.add(key)
    return is_new


def _is_news(block: BlockRunView) -> bool:
    """Whether somebody who reads lines wants to know: not that a block waits for others, or for a free worker."""
    if block.status == "queued":
        return not (block.reason or "waiting for").startswith("waiting for")
    return block.status != "initial"


def _took(block: BlockRunView) -> str:
    return duration(block.started_at, block.finished_at) if block.finished_at and block.attempt else ""


def _line(told: str, *remarks: str) -> str:
    more = ", ".join(remark for remark in remarks if remark)
    return f"{told} ({more})" if more else told
