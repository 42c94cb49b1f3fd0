"""The headers on every answer that does not say otherwise."""

from __future__ import annotations

from aiohttp import web

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""No header lets other sites read anything."""
SERVER = "headrace"


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that it lacks."""
    add_headers_to(response)


def add_headers_to(response: web.StreamResponse) -> None:
    """Give an answer the headers that it lacks."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER
