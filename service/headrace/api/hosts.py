"""Which Host headers are answered: a page of another site must not reach a loopback service under a name of its own."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from headrace.domain.errors import HeadraceError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class WrongHost(HeadraceError):
    """A request names a host that this service does not answer to."""

    code = "wrong-host"


def is_loopback(host: str) -> bool:
    """Whether an address to bind is of this machine alone. Names other than localhost count as others'."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def only_hosts(names: Collection[str]) -> Middleware:
    """Refuse requests whose Host is none of these names."""
    known = frozenset(name.lower() for name in names)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = host_name(request.headers.get("Host", ""))
        if name not in known:
            raise WrongHost(
                f"This service does not answer to the host {name!r}.",
                remedy="Use http://localhost, or name the host in HEADRACE_HOSTS.",
            )
        return await handler(request)

    return check
