"""API tokens in the database, known by their SHA-256 alone."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from headrace.domain.errors import HeadraceError
from headrace.domain.scopes import Scope
from headrace.store.database import Database
from headrace.store.queries import QUERIES


class NameTaken(HeadraceError):
    """A token that can be used has this name already."""

    code = "name-taken"


class UnknownToken(HeadraceError):
    """There is no token with this id."""

    code = "unknown-token"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token without its text, which nobody but its bearer knows."""

    id: int
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who sent a request, by the token it carries."""

    id: int
    name: str
    scopes: frozenset[Scope]


async def create_token(
    database: Database, name: str, sha256: bytes, scopes: Collection[Scope], expires_at: datetime | None
) -> StoredToken:
    """Record a token. Raises NameTaken."""
    row = await database.fetchrow(QUERIES["create_token"], name, sha256, sorted(scopes), expires_at)
    if row is None:
        raise NameTaken(f"There is a token {name} already.", remedy="Choose another name, or revoke that token first.")
    return _stored(dict(row))


async def keep_token(database: Database, name: str, sha256: bytes, scopes: Collection[Scope]) -> bool:
    """Make sure that a token is recorded, in place of another one of its name; False if it was revoked."""
    async with database.transaction() as connection:
        await connection.execute(QUERIES["lock_token_name"], name)  # a namesake may be recorded just now
        await connection.execute(QUERIES["revoke_namesake"], name, sha256)
        row = await connection.fetchrow(QUERIES["keep_token"], name, sha256, sorted(scopes))
    return row["revoked_at"] is None


async def use_token(database: Database, sha256: bytes) -> Bearer | None:
    """The bearer of the token with this digest; None where it is unknown, has expired or was revoked."""
    row = await database.fetchrow(QUERIES["use_token"], sha256)
    if row is None or not hmac.compare_digest(row["sha256"], sha256):
        return None
    return Bearer(row["id"], row["name"], frozenset(map(Scope, row["scopes"])))


async def list_tokens(database: Database, before: int | None, limit: int) -> list[StoredToken]:
    """A page of tokens, newest first, with ids under `before`."""
    return [_stored(dict(row)) for row in await database.fetch(QUERIES["tokens"], before, limit)]


async def revoke_token(database: Database, token: int) -> StoredToken:
    """End a token; ending it again changes nothing. Raises UnknownToken."""
    row = await database.fetchrow(QUERIES["revoke_token"], token)
    if row is None:
        raise UnknownToken(f"There is no token {token}.", remedy="`headrace tokens` shows those there are.")
    return _stored(dict(row))


async def count_live_tokens(database: Database) -> int:
    """How many tokens can be used now."""
    return int(await database.fetchval(QUERIES["live_tokens"]))


def _stored(row: dict[str, object]) -> StoredToken:
    return StoredToken(**{**row, "scopes": tuple(map(Scope, row["scopes"]))})  # type: ignore[arg-type, call-overload]


async def keep_trigger_token(database: Database, trigger: int, sha256: bytes) -> None:
    """Give a trigger a token of its own; the one it had before ends."""
    await database.execute(QUERIES["keep_trigger_token"], trigger, sha256)


async def trigger_of_token(database: Database, sha256: bytes) -> int | None:
    """The trigger that a token calls; None where there is none."""
    found = await database.fetchval(QUERIES["trigger_of_token"], sha256)
    return None if found is None else int(found)
