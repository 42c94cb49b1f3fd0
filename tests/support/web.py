"""A web server on loopback that serves files which a test may change."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served(files: MutableMapping[str, bytes]) -> AsyncIterator[str]:
    """Serve files by name, each with an ETag of its content; the base URL, without a slash at its end."""

    async def answer(request: web.Request) -> web.Response:
        body = files.get(request.match_info["name"])
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, headers={"ETag": f'"{hashlib.sha256(body).hexdigest()}"'})

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
