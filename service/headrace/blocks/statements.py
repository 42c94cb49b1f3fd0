"""Splits SQL into its statements: strings, dollar quotes, comments and SQL-bodied functions stay whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot import TokenType
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import TokenError

from headrace.domain.errors import HeadraceError

_OPENS = frozenset({"CASE", "BEGIN"})


class BadSql(HeadraceError):
    """A text is not made of SQL's tokens: a quote or a comment has no end, for one."""

    code = "bad-sql"


@dataclass(frozen=True)
class Statement:
    """One statement, without the semicolon. `number` and `line` count from 1."""

    number: int
    text: str
    line: int


def split_statements(text: str) -> list[Statement]:
    """The statements of a text, in order; empty ones and comments alone are none. Raises BadSql."""
    spans = list(_spans(_tokens(text)))
    return [
        Statement(number, text[start:end], text.count("\n", 0, start) + 1)
        for number, (start, end) in enumerate(spans, start=1)
    ]


def _tokens(text: str) -> list[Any]:
    try:
        return Postgres().tokenize(text)
    except TokenError as error:
        raise BadSql(
            f"The SQL cannot be read: {error}.", remedy="Look for a quote, a $$ or a comment that has no end."
        ) from error


def _spans(tokens: list[Any]) -> Iterator[tuple[int, int]]:
    """Start and end of each statement. Between BEGIN ATOMIC and its END a semicolon ends nothing."""
    start: int | None = None
    end = depth = 0
    for place, token in enumerate(tokens):
        if token.token_type is TokenType.SEMICOLON and depth == 0:
            if start is not None:
                yield start, end
            start = None
            continue
        start = token.start if start is None else start
        end = token.end + 1
        depth = _depth(depth, tokens, place)
    if start is not None:
        yield start, end


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
