"""Splits SQL into its statements: strings, dollar quotes, comments and SQL-bodied functions stay whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot import TokenType
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import TokenError

from headrace.domain.errors import HeadraceError

_QUOTED = re.compile(
    r"""
    --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | [eE]'(?:[^'\\]|\\.|'')*+' | '(?:[^']|'')*+' | "(?:[^"]|"")*+"
    | (?P<open> ['"] | \$\w*\$ | /\*)
    """,
    re.DOTALL | re.VERBOSE,
)
"""What may hold anything within, and how it begins where it has no end."""
_OPENS = frozenset({"CASE", "BEGIN"})


class BadSql(HeadraceError):
    """A text is not made of SQL's tokens: a quote or a comment has no end, for one."""

    code = "bad-sql"

    def __init__(self, message: str, *, line: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.line = line


@dataclass(frozen=True)
class Statement:
    """One statement, without the semicolon. `number` and `line` count from 1."""

    number: int
    text: str
    line: int
    target: tuple[str, ...] = ()
    """The table that it creates or fills, as the parts of its name; none for other statements."""


def split_statements(text: str) -> list[Statement]:
    """The statements of a text, in order; empty ones and comments alone are none. Raises BadSql."""
    found = list(_groups(_tokens(text)))
    return [_statement(text, number, tokens) for number, tokens in enumerate(found, start=1)]


def _statement(text: str, number: int, tokens: list[Any]) -> Statement:
    start, end = tokens[0].start, tokens[-1].end + 1
    return Statement(number, text[start:end], text.count("\n", 0, start) + 1, _target(tokens))


def _tokens(text: str) -> list[Any]:
    try:
        return Postgres().tokenize(text)
    except TokenError:
        opened = _unclosed(text)
        line = None if opened is None else text.count("\n", 0, opened.start()) + 1
        what = "a token of it has no end" if opened is None else f"the {opened[0]} in line {line} has no end"
        raise BadSql(f"The SQL cannot be read: {what}.", line=line, remedy="Close it.") from None


def _unclosed(text: str) -> re.Match[str] | None:
    """The quote, dollar quote or comment that has no end."""
    return next((found for found in _QUOTED.finditer(text) if found["open"]), None)


def _groups(tokens: list[Any]) -> Iterator[list[Any]]:
    """The tokens of each statement. Between BEGIN ATOMIC and its END a semicolon ends nothing."""
    group: list[Any] = []
    depth = 0
    for place, token in enumerate(tokens):
        if token.token_type is not TokenType.SEMICOLON or depth > 0:
            group.append(token)
            depth = _depth(depth, tokens, place)
        elif group:
            yield group
            group = []
    if group:
        yield group


def _depth(depth: int, tokens: list[Any], place: int) -> int:
    word = _word(tokens, place)
    if depth == 0:
        return 1 if word == "BEGIN" and _word(tokens, place + 1) == "ATOMIC" else 0
    if word in _OPENS:
        return depth + 1
    return depth - 1 if word == "END" else depth


def _word(tokens: list[Any], place: int) -> str:
    if place >= len(tokens) or tokens[place].token_type in (TokenType.STRING, TokenType.IDENTIFIER):
        return ""
    return str(tokens[place].text).upper()


_BEFORE_NAME = frozenset({"TABLE", "INTO", "UPDATE", "IF", "NOT", "EXISTS", "ONLY"})


def _target(tokens: list[Any]) -> tuple[str, ...]:
    """The name after CREATE TABLE, INSERT INTO or UPDATE, if one of them is what the statement does."""
    place = _verb(tokens)
    if place is None:
        return ()
    while _word(tokens, place) in _BEFORE_NAME:
        place += 1
    parts = [_name(tokens[place])] if place < len(tokens) else []
    while place + 2 < len(tokens) and tokens[place + 1].token_type is TokenType.DOT:
        place += 2
        parts.append(_name(tokens[place]))
    return tuple(parts)


def _verb(tokens: list[Any]) -> int | None:
    """Where the word before the name stands: TABLE, INTO or UPDATE. A WITH before the verb is passed over."""
    words = [_word(tokens, place) for place in range(min(len(tokens), 6))]
    if words[0] == "CREATE":
        return words.index("TABLE") if "TABLE" in words else None
    if words[0] not in ("INSERT", "UPDATE", "WITH"):
        return None
    outside = 0
    for place in range(len(tokens)):
        outside += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(tokens[place].token_type, 0)
        if outside == 0 and _word(tokens, place) in ("INTO", "UPDATE", "SELECT", "DELETE"):
            return place if _word(tokens, place) in ("INTO", "UPDATE") else None
    return None


def _name(token: Any) -> str:
    text = str(token.text)
    return text if token.token_type is TokenType.IDENTIFIER else text.lower()
