"""What blocks printed and logged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from headrace.api.fields import MOST, Given, Text
from headrace.api.pages import Page
from headrace.api.routes import Call, Route
from headrace.api.runs import RunPath
from headrace.domain.scopes import Scope
from headrace.store.logs import log_lines


class LinesQuery(Given):
    """A page of a run's log in order, of one block or of all."""

    block: Text | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Lines at most.")] = 200
    after: Annotated[int, Field(ge=0, le=MOST, description="Only lines after this id: a page's `next`.")] = 0


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of a run's log. `seq` counts from 1 within an attempt: a gap in it is a gap in the log."""

    id: int
    block: str
    attempt: int
    seq: int
    at: datetime
    stream: str
    level: str
    text: str


async def list_lines(call: Call, path: RunPath, query: LinesQuery) -> Page[LineView]:
    """Read a run's log, oldest line first; `next` is the `after` of the next page, null where no more lines are yet."""
    await call.served.project_of(path.run)
    rows = await log_lines(call.served.opened, path.run, after=query.after, block=query.block, limit=query.limit + 1)
    lines = tuple(map(line_view, rows[: query.limit]))
    return Page(lines, lines[-1].id if len(rows) > query.limit else None)


def line_view(row: Any) -> LineView:
    """A stored line as the API tells it."""
    return LineView(
        id=row["id"],
        block=row["block"],
        attempt=row["attempt"],
        seq=row["seq"],
        at=row["at"],
        stream=row["stream"],
        level=row["level"],
        text=row["text"],
    )


ROUTES = (Route("GET", "/api/v1/runs/{run}/logs", Scope.READ, list_lines, problems=("unknown-run",)),)
