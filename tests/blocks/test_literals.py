"""Variables of queries: whatever is put in is what Postgres gets."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from headrace.blocks.io.literals import BadVariable, filled, literal
from headrace.io import Postgres
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        ("it's; -- \\ $1 %s", "it's; -- \\ $1 %s", "unknown"),
        (-3, "-3", "integer"),
        (np.int64(2**62), str(2**62), "bigint"),
        (True, "true", "boolean"),
        (1.5, "1.5", "numeric"),
        (float("nan"), "NaN", "double precision"),
        (Decimal("1.10"), "1.10", "numeric"),
        (None, None, "unknown"),
        (pd.NaT, None, "unknown"),
        (datetime.date(2026, 3, 1), "2026-03-01", "date"),
        (datetime.time(1, 2, 3), "01:02:03", "time without time zone"),
        (datetime.datetime(2026, 3, 1, 4, tzinfo=UTC), "2026-03-01 04:00:00+00", "timestamp with time zone"),
        (pd.Timestamp("2026-03-01 04:00:00.000001"), "2026-03-01 04:00:00.000001", "timestamp without time zone"),
        (datetime.timedelta(days=-1, seconds=5), "-1 days +00:00:05", "interval"),
        (b"\0'\\", "\\x00275c", "bytea"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5)), "uuid"),
        ([1, 2], "{1,2}", "integer[]"),
        (np.array(["a", "b,"]), '{a,"b,"}', "text[]"),
        ({"a": ["it's", None]}, '{"a": ["it\'s", null]}', "jsonb"),
    ],
)
def test_a_value_arrives_as_it_is(db: Postgres, value: Any, text: str | None, kind: str) -> None:
    query = "SELECT (%(v)s)::text AS v, pg_typeof(%(v)s)::text AS kind"
    [row] = db.load(query, params={"v": value}).to_dict("records")
    assert row["kind"] == kind
    assert (None if pd.isna(row["v"]) else row["v"]) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_text_escapes_its_quotes(db: Postgres, text: str) -> None:
    assert db.fetched("SELECT %s || '' AS v", [text])[1] == [(text,)]


def test_variables_come_by_name_in_order_or_as_psycopg_s_vars(db: Postgres) -> None:
    db.execute(
        "CREATE TABLE t (day date, word text); INSERT INTO t VALUES (%(day)s, %(word)s)", day="2026-03-01", word="x"
    )
    db.execute("INSERT INTO t VALUES (%s, %s)", vars=("2026-03-02", "50%"))
    db.execute("DELETE FROM t WHERE word LIKE '%z%'")
    frames = db.execute_queries(
        [
            "INSERT INTO t VALUES (%(day)s, 'y')",
            "SELECT word FROM t WHERE word IN %(words)s AND word LIKE '%%' ORDER BY 1",
        ],
        [{"day": datetime.date(2026, 3, 3)}, {"words": ("50%", "y")}],
        fetch_query_at_indexes=[False, True],
    )
    assert frames[1] is not None
    assert list(frames[1]["word"]) == ["50%", "y"]


@pytest.mark.parametrize(
    ("query", "variables", "told"),
    [
        ("%(a)s", {"b": 1}, "asks for the variable a, but is given b"),
        ("%s", {"b": 1}, "has a %s, but is given b"),
        ("%s %s", [1], "more places"),
        ("%s", [1, 2], "fewer than the 2"),
        ("%(a)s", [1], "a by name"),
        ("%s", [object()], "object has no form"),
        ("%s", ["a\0"], "NUL"),
    ],
)
def test_what_does_not_fit_is_told(query: str, variables: Any, told: str) -> None:
    with pytest.raises(BadVariable, match=told):
        filled(query, variables)


def test_a_negative_number_after_a_minus_begins_no_comment() -> None:
    assert filled("SELECT 1-%s", [-1]) == "SELECT 1- -1"
    assert literal(()) == "(NULL)"
    assert literal([]) == "'{}'"


def test_a_cursor_runs_statements_and_holds_the_rows_of_the_last(db: Postgres) -> None:
    with db.conn.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int, word text); INSERT INTO t VALUES (1, 'a'), (2, 'b;')")
        assert (cursor.rowcount, cursor.description) == (2, None)
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(3, "c"), (4, "d")])
        cursor.execute("SELECT n, word FROM t WHERE n > %(low)s ORDER BY n", {"low": 1})
        assert [column[0] for column in cursor.description] == ["n", "word"]
        assert cursor.fetchone() == (2, "b;")
        assert cursor.fetchmany(1) == [(3, "c")]
        assert list(cursor) == [(4, "d")]
        assert cursor.fetchone() is None
    db.conn.commit()
    db.rollback()
    assert len(db.load("SELECT * FROM t")) == 4
