"""What blocks returned: previews, and the stored values whole, as they are or in another format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import anyio
from aiohttp import web
from pydantic import Field

from headrace.api.fields import Given, Id, Text
from headrace.api.problems import STREAMING
from headrace.api.routes import Call, Route
from headrace.domain.scopes import Scope
from headrace.engine.reading import output_parts
from headrace.engine.rendering import rendered
from headrace.engine.views import OutputView
from headrace.engine.worker_environment import worker_environ
from headrace.store.outputs import list_outputs

PART = 1 << 20
SEND_SECONDS = 60.0
"""A client that takes no byte for so long is let go."""
_AT_ONCE = asyncio.Semaphore(2)
"""Outputs that are brought into another format at once: each takes a core and the output's size in memory."""


class BlockPath(Given):
    """Which block of which run."""

    run: Id
    block: Text


class OutputPath(BlockPath):
    """Which of a block's outputs, from 0."""

    index: Annotated[int, Field(ge=0, le=2**31 - 1)]


class Format(StrEnum):
    """How an output is written."""

    STORED = "stored"
    """As it is stored: an Arrow file, JSON, or a Python pickle."""
    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


class FormatQuery(Given):
    """In which format."""

    format: Format = Format.STORED


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """One of a block's outputs, without its preview."""

    block: str
    index: int
    codec: str
    bytes: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class OutputList:
    """The outputs of a block, in order."""

    items: tuple[OutputSummary, ...]


_MEDIA = {
    "arrow": ("application/vnd.apache.arrow.file", "arrow"),
    "pickle": ("application/octet-stream", "pickle"),
    "csv": ("text/csv", "csv"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
    "json": ("application/json", "json"),
}
"""A codec or format to its media type and the ending of a file's name."""


async def show_outputs(call: Call, path: BlockPath) -> OutputList:
    """List the outputs of a block of a run; none where it has not completed, or returned nothing."""
    await call.served.project_of(path.run)
    rows = await list_outputs(call.served.opened, path.run, path.block)
    return OutputList(tuple(OutputSummary(row.block, row.position, row.codec, row.bytes, row.rows) for row in rows))


async def show_output(call: Call, path: OutputPath) -> OutputView:
    """Show an output: its facts, and its first rows or its text."""
    await call.served.project_of(path.run)
    view, _ = await output_parts(call.served.opened, path.run, path.block, path.index)
    return view


async def download_output(call: Call, path: OutputPath, query: FormatQuery) -> web.StreamResponse:
    """Download an output whole."""
    headrace = await call.served.project_of(path.run)
    view, parts = await output_parts(call.served.opened, path.run, path.block, path.index)
    if query.format is Format.STORED or query.format.value == view.codec:
        return await _sent(call, path, view.codec, parts)
    environ = worker_environ(headrace.project.environ)
    async with _AT_ONCE, rendered(view.codec, parts, query.format, headrace.project.root, environ) as file:
        return await _sent(call, path, query.format, _read(file))


async def _read(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while part := await file.read(PART):
            yield part


async def _sent(call: Call, path: OutputPath, kind: str, parts: AsyncIterator[bytes]) -> web.StreamResponse:
    media, ending = _MEDIA[kind]
    name = quote(f"{path.run}-{path.block}-{path.index}.{ending}", safe="")
    response = web.StreamResponse(
        headers={"Content-Type": media, "Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    )
    call.request[STREAMING] = True
    await response.prepare(call.request)
    async for part in parts:
        async with asyncio.timeout(SEND_SECONDS):
            await response.write(part)
    await response.write_eof()
    return response


_OUTPUTS = "/api/v1/runs/{run}/blocks/{block}/outputs"

ROUTES = (
    Route("GET", _OUTPUTS, Scope.READ, show_outputs, problems=("unknown-run",)),
    Route(
        "GET",
        _OUTPUTS + "/{index}",
        Scope.READ,
        show_output,
        problems=("unknown-run", "unknown-block", "unknown-output"),
    ),
    Route(
        "GET",
        _OUTPUTS + "/{index}/download",
        Scope.READ,
        download_output,
        problems=("unknown-run", "unknown-block", "unknown-output", "not-rendered"),
        media="application/octet-stream",
    ),
)
