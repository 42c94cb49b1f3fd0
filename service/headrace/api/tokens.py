"""API tokens: made, listed, revoked. A token's text is told once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from headrace.api.auth import digest_of, new_token
from headrace.api.fields import Given, Id, Moment, Text
from headrace.api.pages import Page, PageQuery, page_of
from headrace.api.routes import Call, Route
from headrace.domain.scopes import Scope
from headrace.store.tokens import StoredToken, create_token, list_tokens, revoke_token


class TokenPath(Given):
    """Which token."""

    token: Id


class NewToken(Given):
    """A token to make."""

    name: Text
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_at: Annotated[Moment | None, Field(description="When it ends by itself; null for never.")] = None


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token with its text, which is told this once."""

    text: str
    token: StoredToken


async def all_tokens(call: Call, query: PageQuery) -> Page[StoredToken]:
    """List tokens, newest first, those that were revoked too."""
    found = await list_tokens(call.served.opened, query.before, query.limit + 1)
    return page_of(found, query.limit, lambda token: token.id)


async def make_token(call: Call, body: NewToken) -> MadeToken:
    """Make a token."""
    text = new_token()
    made = await create_token(call.served.opened, body.name, digest_of(text), set(body.scopes), body.expires_at)
    return MadeToken(text, made)


async def end_token(call: Call, path: TokenPath) -> StoredToken:
    """Revoke a token at once."""
    return await revoke_token(call.served.opened, path.token)


ROUTES = (
    Route("GET", "/api/v1/tokens", Scope.ADMIN, all_tokens),
    Route("POST", "/api/v1/tokens", Scope.ADMIN, make_token, 201, problems=("name-taken",)),
    Route("DELETE", "/api/v1/tokens/{token}", Scope.ADMIN, end_token, problems=("unknown-token",)),
)
