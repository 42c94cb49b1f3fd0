"""Splits SQL text into statements, by Postgres's own rules for strings, dollar quotes and comments."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import TokenType
from sqlglot.dialects.postgres import Postgres


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text; `line` is where it begins, from 1."""

    text: str
    line: int


def split_statements(text: str) -> list[Statement]:
    """The statements of a text in order, without the semicolons between them; comments alone are no statement."""
    statements: list[Statement] = []
    begin: int | None = None
    line = end = 0
    for token in Postgres().tokenize(text):
        if token.token_type is TokenType.SEMICOLON:
            if begin is not None:
                statements.append(Statement(text[begin:end], line))
            begin = None
            continue
        if begin is None:
            begin, line = token.start, text.count("\n", 0, token.start) + 1
        end = token.end + 1
    if begin is not None:
        statements.append(Statement(text[begin:].rstrip().rstrip(";"), line))
    return statements
