"""Serves an application on an address, with the limits that hold before any request is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from headrace.api.connection import Connection
from headrace.domain.errors import HeadraceError

HEAD_SECONDS = 30.0
"""A connection ends that has sent no whole request head for so long: idle, or with a head that comes too slowly."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read away, so that its sender gets to read why."""
CLOSE_SECONDS = 2.0
"""How long requests under way may still take when the service stops."""
BACKLOG = 512


class AddressInUse(HeadraceError):
    """The service cannot listen on its address."""

    code = "address-in-use"


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, head_seconds: float = HEAD_SECONDS
) -> AsyncIterator[str]:
    """Serve until the block ends; the base URL, with the port that was chosen where `port` is 0. Raises AddressInUse.

    Bodies are handed on as they came: signatures are made over those bytes, and what is decompressed must be bounded.
    """
    app.on_response_prepare.append(_note_answer)
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=CLOSE_SECONDS
    )
    await runner.setup()
    try:
        server = await _bound(runner, host, port, head_seconds)
        try:
            yield f"http://{_shown(host)}:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _bound(runner: web.AppRunner, host: str, port: int, head_seconds: float) -> asyncio.Server:
    loop, manager = asyncio.get_running_loop(), runner.server
    assert manager is not None  # noqa: S101 - the runner is set up

    def connection() -> Connection:
        return Connection(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # as the runner itself hands it on
            auto_decompress=False,
            keepalive_timeout=head_seconds,
            lingering_time=LINGER_SECONDS,
        )

    try:
        return await loop.create_server(connection, host, port, backlog=BACKLOG)
    except OSError as error:
        raise AddressInUse(
            f"The service cannot listen on {host}:{port}: {error.strerror}.",
            remedy="Stop what listens there, or choose another address: --port, --host.",
        ) from error


async def _note_answer(request: web.Request, response: web.StreamResponse) -> None:
    if isinstance(request.protocol, Connection):
        request.protocol.answered()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
