"""The named queries: how their files are read, and that Postgres understands each of them."""

from __future__ import annotations

import pytest
from headrace.store.database import Database
from headrace.store.errors import InvalidQueries
from headrace.store.queries import QUERIES, merge_queries, parse_queries


async def test_postgres_prepares_every_named_query(database: Database):
    assert QUERIES
    async with database.connection() as connection:
        for name, sql in QUERIES.items():
            try:
                await connection.prepare(sql)
            except Exception as error:
                raise AssertionError(f"{name}: {error}") from error


def test_a_file_is_read_as_names_and_statements():
    text = "-- What this file has.\n-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\n-- The second.\n-- More.\nSELECT 2;"
    assert parse_queries(text, "a.sql") == {"one": "SELECT 1;", "two": "-- More.\nSELECT 2;"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("-- name: one\n-- P.\nSELECT 1;\n-- name: one\n-- P.\nSELECT 2;", "twice"),
        ("SELECT 1;\n-- name: one\n-- P.\nSELECT 1;", "before the first"),
        ("-- name: one\nSELECT 1;", "purpose"),
        ("-- name: one\n-- P.\n-- Only comments.", "no SQL"),
    ],
)
def test_a_file_that_is_not_a_row_of_queries_is_refused(text: str, fault: str):
    with pytest.raises(InvalidQueries, match=fault):
        parse_queries(text, "a.sql")


def test_one_name_in_two_files_is_refused_and_both_files_are_named():
    text = "-- name: one\n-- P.\nSELECT 1;"
    with pytest.raises(InvalidQueries, match=r"b\.sql.*a\.sql"):
        merge_queries([("a.sql", text), ("b.sql", text)])
