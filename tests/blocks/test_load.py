"""Rows of queries as frames: the types of columns, and how many rows."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from headrace.blocks.io.base import ConnectorFault
from headrace.io import Postgres

from tests.support.tables import absent


def test_uint64_is_exact(db: Postgres) -> None:
    db.export(pd.DataFrame({"v": pd.Series([2**64 - 1, 0, 10_000], dtype="uint64")}), "public", "t")
    assert list(db.load("SELECT * FROM t", exact=True)["v"]) == [Decimal(2**64 - 1), Decimal(0), Decimal(10_000)]
    pd.testing.assert_series_equal(
        db.load("SELECT * FROM t")["v"], pd.Series([2**64 - 1, 0, 10_000], dtype="uint64", name="v")
    )


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ("1.50, NULL, 1e20, 0.1", "float64", [1.5, np.nan, 1e20, 0.1]),
        ("10.00, 9007199254740991", "float64", [10.0, 2.0**53 - 1]),
        ("9007199254740993, -1", "int64", [2**53 + 1, -1]),
        ("9007199254740993, NULL", "Int64", [2**53 + 1, pd.NA]),
        ("18446744073709551615, NULL", "UInt64", [2**64 - 1, pd.NA]),
        ("18446744073709551616, 1, NULL", "object", [2**64, 1, None]),
        ("'NaN', 1e20", "float64", [np.nan, 1e20]),
        ("'Infinity', 9007199254740993", "float64", [np.inf, float(2**53 + 1)]),
    ],
)
def test_whole_numbers_are_loaded_exactly(db: Postgres, values: str, dtype: str, expected: list[Any]) -> None:
    rows = ", ".join(f"({value.strip()}::numeric)" for value in values.split(","))
    found = db.load(f"SELECT v FROM (VALUES {rows}) AS t (v)")["v"]
    assert str(found.dtype) == dtype
    assert [str(v) if absent(v) else v for v in found] == [str(v) if absent(v) else v for v in expected]


def test_values_of_an_enum_are_text(db: Postgres) -> None:
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (v mood); INSERT INTO t VALUES ('ok'), (NULL)")
    found = db.load("SELECT v FROM t")["v"]
    assert (str(found.dtype), found[0], absent(found[1])) == ("str", "ok", True)


def test_load_keeps_to_its_limit_and_takes_any_statement_with_rows(db: Postgres) -> None:
    assert len(db.load("SELECT generate_series(1, 100) AS n;", limit=7)) == 7
    assert db.load("WITH x AS (SELECT 1 AS n) SELECT n AS a, n AS a FROM x").columns.tolist() == ["a", "a"]
    assert list(db.load("VALUES (%(n)s::int)", params={"n": 4}).iloc[0]) == [4]
    assert len(db.load("SELECT 1", limit=0)) == 0


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("'infinity'::timestamp", "Column v, row 2: no type of pandas holds infinity"),
        ("'-infinity'::timestamptz", "Column v, row 2: no type of pandas holds -infinity"),
        ("'infinity'::date", "Column v, row 2: no type of pandas holds infinity"),
        ("'-infinity'::date", "Column v, row 2: no type of pandas holds -infinity"),
        ("'0044-03-15 BC'::date", "Column v, row 2: no type of pandas holds a date beyond"),
        ("'20000-01-01'::timestamp", "A value of v is beyond the years 1 to 9999"),
        ("'0044-03-15 BC'::timestamptz", "A value of v is beyond the years 1 to 9999"),
        ("'1 year 2 days'::interval", "Column v, row 2: no type of pandas holds a span with 12 months"),
    ],
)
def test_what_no_type_holds_is_an_error_with_its_place_and_the_connection_goes_on(
    db: Postgres, value: str, told: str
) -> None:
    with pytest.raises(ConnectorFault, match=told) as caught:
        db.load(f"SELECT v, n FROM (VALUES (NULL, 1), ({value}, 2)) AS t (v, n)")
    assert "::text" in caught.value.remedy
    db.rollback()
    assert list(db.load("SELECT 1 AS n")["n"]) == [1]


def test_the_first_and_last_days_and_spans_of_days_are_kept(db: Postgres) -> None:
    frame = db.load(
        "SELECT * FROM (VALUES ('0001-01-01'::date, '9999-12-31 23:59:59'::timestamp, '-3 days 2 s'::interval),"
        " ('9999-12-31', '0001-01-01 00:00:01', NULL)) AS t (day, moment, span)"
    )
    assert list(frame["day"]) == [date(1, 1, 1), date(9999, 12, 31)]
    assert [str(moment) for moment in frame["moment"]] == ["9999-12-31 23:59:59", "0001-01-01 00:00:01"]
    assert frame["span"][0] == pd.Timedelta(days=-3, seconds=2)
    db.export(frame[["day", "span"]], "public", "t")
    assert list(db.load("SELECT * FROM t WHERE day = %s", params=[date(9999, 12, 31)])["day"]) == [date(9999, 12, 31)]
