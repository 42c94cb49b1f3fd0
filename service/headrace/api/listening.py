"""Serves an application on an address, with the limits that hold before any request is looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from headrace.domain.errors import HeadraceError

HEAD_SECONDS = 30.0
"""A connection that has not sent a whole request head for so long is closed."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read away, so that its sender gets to read why."""
CLOSE_SECONDS = 2.0
"""How long requests under way may still take when the service stops."""
BACKLOG = 512


class AddressInUse(HeadraceError):
    """The service cannot listen on its address."""

    code = "address-in-use"


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve until the block ends; the base URL, with the port that was chosen where `port` is 0. Raises AddressInUse.

    Bodies are handed on as they came: signatures are made over those bytes, and what is decompressed must be bounded.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        auto_decompress=False,
        keepalive_timeout=HEAD_SECONDS,
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=CLOSE_SECONDS,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except OSError as error:
            raise AddressInUse(
                f"The service cannot listen on {host}:{port}: {error.strerror}.",
                remedy="Stop what listens there, or choose another address: --port, --host.",
            ) from error
        yield f"http://{_shown(host)}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
