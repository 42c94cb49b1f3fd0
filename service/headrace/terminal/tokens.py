"""The commands on API tokens: made, listed, revoked."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from rich.table import Table

from headrace.api.auth import digest_of, new_token
from headrace.domain.scopes import Scope
from headrace.store.database import open_database
from headrace.store.tokens import StoredToken, create_token, list_tokens, revoke_token
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import moment
from headrace.terminal.screen import Screen

MOST = 1000


async def list_all(screen: Screen) -> ExitCode:
    """Print every token, those that were revoked too."""
    async with open_database(screen.project.resolve()) as database:
        found = await list_tokens(database, None, MOST)
    if screen.is_json:
        screen.out.say(json.dumps([asdict(token) for token in found], indent=2, default=str))
        return ExitCode.COMPLETED
    if not found:
        screen.out.say(f"There are no tokens yet. Make one: {screen.command('tokens', 'create', 'NAME')}")
        return ExitCode.COMPLETED
    screen.out.print(_table(found))
    return ExitCode.COMPLETED


def _table(found: Collection[StoredToken]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("token", "name", "scopes", "made", "last used", "ends"):
        table.add_column(name)
    for token in found:
        ends = f"revoked {moment(token.revoked_at)}" if token.revoked_at else moment(token.expires_at) or "never"
        table.add_row(
            str(token.id),
            token.name,
            ", ".join(token.scopes),
            moment(token.created_at),
            moment(token.last_used_at),
            ends,
        )
    return table


async def make(screen: Screen, name: str, scopes: Collection[Scope], days: float | None) -> ExitCode:
    """Make a token and print its text, alone on standard output."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    text = new_token()
    async with open_database(screen.project.resolve()) as database:
        token = await create_token(database, name, digest_of(text), set(scopes), expires_at)
    if screen.is_json:
        screen.out.say(json.dumps({"text": text, "token": asdict(token)}, indent=2, default=str))
        return ExitCode.COMPLETED
    screen.out.say(text)
    screen.err.say(f"Token {token.id} allows {', '.join(token.scopes)}. It is not shown again.")
    return ExitCode.COMPLETED


async def end(screen: Screen, number: int) -> ExitCode:
    """Revoke a token."""
    async with open_database(screen.project.resolve()) as database:
        token = await revoke_token(database, number)
    screen.out.say(f"Token {token.id} ({token.name}) is revoked.")
    return ExitCode.COMPLETED
