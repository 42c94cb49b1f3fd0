"""Who may call a route: bearer tokens, known to the database by their digest alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from aiohttp import web

from headrace.api.problems import UNREADABLE
from headrace.api.served import Served
from headrace.domain.errors import HeadraceError
from headrace.domain.scopes import Scope, allows
from headrace.store.tokens import Bearer, use_token

PREFIX = "headrace_"
"""Begins every token, so that people and scanners for leaked secrets know one when they see it."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="headrace"'}


class Unauthenticated(HeadraceError):
    """A request carries no token, or one that is unknown, has expired or was revoked."""

    code = "unauthenticated"
    headers = CHALLENGE


class Forbidden(HeadraceError):
    """The token of a request does not allow what it asks for."""

    code = "forbidden"


def new_token() -> str:
    """A fresh token: 256 random bits."""
    return PREFIX + secrets.token_hex(32)


def digest_of(token: str) -> bytes:
    """What is kept of a token. It has 256 random bits, so that a fast digest is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


async def let_through(served: Served, request: web.Request, needed: Scope) -> Bearer:
    """Who calls. Raises Unauthenticated, or Forbidden where the token has none of the scopes that allow it."""
    bearer = await _bearer(served, _token(request))
    if bearer is None:
        raise Unauthenticated(
            "The token is unknown, has expired or was revoked.", remedy="Make another one: `headrace tokens create`."
        )
    if not allows(bearer.scopes, needed):
        held = ", ".join(sorted(bearer.scopes))
        raise Forbidden(
            f"This needs a token with the scope {needed}; {bearer.name} has {held}.",
            remedy=f"Use a token with the scope {needed}.",
        )
    return bearer


def _token(request: web.Request) -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "This needs a token.", remedy="Send `Authorization: Bearer TOKEN`; see `headrace tokens create`."
        )
    return token.strip()


async def _bearer(served: Served, token: str) -> Bearer | None:
    digest = digest_of(token)
    if _same(served.settings.token_digest, digest):
        return Bearer(0, "HEADRACE_API_TOKEN", frozenset({Scope.ADMIN}))
    try:
        return await use_token(served.opened, digest)
    except UNREADABLE:
        if _same(served.own_digest, digest):
            return Bearer(0, "the service's own", frozenset({Scope.ADMIN}))
        raise


def _same(known: bytes | None, digest: bytes) -> bool:
    return known is not None and hmac.compare_digest(known, digest)
