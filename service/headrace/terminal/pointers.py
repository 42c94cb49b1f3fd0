"""Where to look after a run: commands to copy."""

from __future__ import annotations

from headrace.domain.statuses import RUN_TERMINAL, BlockStatus, RunStatus
from headrace.engine.views import BlockRunView, RunView, TableView
from headrace.service import Headrace
from headrace.terminal.commands import Spelling

MOST_TABLES = 3

Pointers = list[tuple[str, str]]
"""What for, and the command."""


async def pointers(headrace: Headrace, spelling: Spelling, view: RunView) -> Pointers:
    """What a reader may want next: rows in tables, outputs, logs; after a run that did not complete, another try."""
    run = str(view.id)
    if view.status not in RUN_TERMINAL:
        return [("logs", spelling.command("logs", run, "--follow")), ("cancel", spelling.command("cancel", run))]
    tables = await headrace.tables(view.id)
    found = [("rows", _rows(spelling, table)) for table in tables[:MOST_TABLES]]
    if (last := _last_with_output(view)) is not None:
        found.append(("output", spelling.command("output", run, last.uuid)))
    failed = [block.uuid for block in view.blocks if block.status == BlockStatus.FAILED]
    found.append(("logs", spelling.command("logs", run, *failed[:1])))
    if view.status != RunStatus.COMPLETED:
        found.append(("try again", spelling.command("retry", run, *(["--latest"] if failed else []))))
    return found


def _rows(spelling: Spelling, table: TableView) -> str:
    profile = [] if table.profile is None else ["--profile", table.profile]
    schema, _, name = table.table.rpartition(".")
    place = ".".join(_quoted(part) for part in (schema, name) if part)
    return spelling.command("db", "psql", *profile, "-c", f"TABLE {place} LIMIT 10")


def _quoted(name: str) -> str:
    """A name as SQL takes it, in quotation marks only where it needs them."""
    is_plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if is_plain else '"' + name.replace('"', '""') + '"'


def _last_with_output(view: RunView) -> BlockRunView | None:
    """The block nearest to the pipeline's end that has an output, rows before other values."""
    outputs = [block for block in view.blocks if block.outputs and block.status == BlockStatus.COMPLETED]
    return max(reversed(outputs), key=lambda block: block.rows is not None, default=None)
