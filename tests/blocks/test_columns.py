"""Values of frames in Postgres: which type each gets, that none is changed, and what is told of one that does not fit."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.columns import UnstorableValue
from headrace.io import Postgres
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.tables import absent, back, sql_types

DAY = datetime.date(2026, 3, 1)
MOMENT = datetime.datetime(2026, 3, 1, 4, 5, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pd.Series([1, None, -(2**62)], dtype="Int64"), "bigint", [1, pd.NA, -(2**62)]),
        (pd.Series([1, 2], dtype="int64"), "bigint", [1, 2]),
        (pd.Series([1, 2], dtype="int32"), "integer", [1, 2]),
        (pd.Series([1, -2], dtype="int8"), "smallint", [1, -2]),
        (pd.Series([255, 0], dtype="uint8"), "smallint", [255, 0]),
        (pd.Series([2**32 - 1], dtype="uint32"), "bigint", [2**32 - 1]),
        (pd.Series([1.5, np.nan]), "double precision", [1.5, np.nan]),
        (pd.Series([1.5, 2.25], dtype="float32"), "real", [1.5, 2.25]),
        (pd.Series([True, False]), "boolean", [True, False]),
        (pd.Series([True, None], dtype="boolean"), "boolean", [True, pd.NA]),
        (pd.Series([True, None], dtype=object), "boolean", [True, pd.NA]),
        (pd.Series(["a", "", None, "ü'\";\n\\N"]), "text", ["a", "", np.nan, "ü'\";\n\\N"]),
        (pd.Series(["a", None], dtype=object), "text", ["a", np.nan]),
        (pd.Series(["a", "b", None, "a"], dtype="category"), "text", ["a", "b", np.nan, "a"]),
        (pd.Series([1, 2, None], dtype="category"), "bigint", [1, 2, pd.NA]),
        (pd.Series([None, None], dtype=object), "text", [np.nan, np.nan]),
        (pd.Series([b"\0a", None], dtype=object), "bytea", [b"\0a", None]),
        (pd.Series([datetime.date(2026, 3, 1), None], dtype=object), "date", [datetime.date(2026, 3, 1), None]),
        (pd.Series([datetime.time(1, 2, 3)], dtype=object), "time without time zone", [datetime.time(1, 2, 3)]),
        (pd.Series([{"a": [1, None]}, None], dtype=object), "jsonb", [{"a": [1, None]}, None]),
        (pd.Series([[1, None], [], None], dtype=object), "ARRAY", [[1, None], [], None]),
        (pd.Series([["a", "b"]], dtype=object), "ARRAY", [["a", "b"]]),
        (pd.Series([[1, "a"]], dtype=object), "jsonb", [[1, "a"]]),
        (pd.Series([[[1], [2, 3]]], dtype=object), "jsonb", [[[1], [2, 3]]]),
        (pd.Series([uuid.UUID(int=5), None], dtype=object), "uuid", [str(uuid.UUID(int=5)), np.nan]),
        (pd.Series([2**80, -1], dtype=object), "numeric", [float(2**80), -1.0]),
        (pd.Series([1, 0.5, None], dtype=object), "double precision", [1.0, 0.5, np.nan]),
        (pd.Series(pd.arrays.SparseArray([0, 0, 1])), "bigint", [0, 0, 1]),
        (pd.Series(np.array([1, 2], dtype=">i4")), "integer", [1, 2]),
        (pd.Series([1.5, None], dtype="Float64"), "double precision", [1.5, np.nan]),
        (pd.Series(["a", None], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))), "text", ["a", np.nan]),
        (pd.Series([{"a": 1}], dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))), "jsonb", [{"a": 1}]),
        (pd.Series([[DAY, MOMENT]], dtype=object), "jsonb", [["2026-03-01", "2026-03-01T04:05:00+00:00"]]),
    ],
)  # fmt: skip
def test_values_come_back_as_they_went(db: Postgres, values: Any, kind: str, expected: list[Any]) -> None:
    found = back(db, pd.DataFrame({"v": values}))["v"]
    assert sql_types(db) == {"v": kind}
    assert [str(v) if absent(v) else v for v in found] == [str(v) if absent(v) else v for v in expected]


@pytest.mark.parametrize(
    "text",
    ["0", "1.10", "-0.0001", "12345678901234567890.123456789", "1E+20", "NaN", "Infinity", "-Infinity", "10000", "0.5"],
)
def test_decimals_are_exact(db: Postgres, text: str) -> None:
    db.export(pd.DataFrame({"v": [Decimal(text), Decimal("2")]}, dtype=object), "public", "t")
    [value, _] = db.load("SELECT * FROM t", exact=True)["v"]
    assert str(value) == str(Decimal(text)) or value == Decimal(text)
    shown = db.load("SELECT v::text AS v FROM t")["v"][0]
    assert shown == format(Decimal(text), "f")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.decimals(min_value=-(10**40), max_value=10**40, places=None), min_size=1))
def test_any_decimals_come_back_exactly(db: Postgres, values: list[Decimal]) -> None:
    db.export(pd.DataFrame({"v": pd.Series(values, dtype=object)}), "public", "t")
    found = db.load("SELECT * FROM t", exact=True)["v"]
    assert [value.normalize() for value in found] == [value.normalize() for value in values]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_keep_their_instant(db: Postgres, unit: str, zone: str | None) -> None:
    times = (
        pd.Series(pd.to_datetime(["1960-01-02 03:04:05", None, "2262-01-01 00:00:00"]))
        .dt.tz_localize(zone)
        .dt.as_unit(unit)
    )  # type: ignore[arg-type]
    found = back(db, pd.DataFrame({"v": times}))["v"]
    assert sql_types(db)["v"] == ("timestamp with time zone" if zone else "timestamp without time zone")
    expected = times.dt.as_unit("us")
    pd.testing.assert_series_equal(found, expected.dt.tz_convert("UTC") if zone else expected, check_names=False)


def test_timedeltas_become_intervals(db: Postgres) -> None:
    spans = pd.Series(pd.to_timedelta(["1 days 00:00:01.5", None, "-3 hours"]))
    found = back(db, pd.DataFrame({"v": spans}))["v"]
    assert sql_types(db) == {"v": "interval"}
    pd.testing.assert_series_equal(found, spans.dt.as_unit("us"), check_names=False)


@pytest.mark.parametrize(
    ("values", "row", "told"),
    [
        (pd.Series(["a", "b\0c", "d"]), 20, "0x00"),
        (pd.Series(["a", 1, "d"], dtype=object), 20, "int"),
        (pd.Series(pd.to_datetime([1, 2, 1001], unit="ns").as_unit("ns")), 10, "timestamp"),
        (pd.Series([{"a": 1}, {"a": float("nan")}, None], dtype=object), 20, "JSON|nan"),
        (pd.Series([{"a": 1}, {"a": object()}, None], dtype=object), 20, "JSON"),
        (pd.Series([{"a": 1}, {"a": "\0"}, None], dtype=object), 20, "u0000|0x00"),
        (pd.Series(["a", "b", "\ud800"], dtype=object), 30, "surrogate"),
        (pd.Series([1, object(), 2], dtype=object), 20, "object"),
        (pd.Series([1.5, 2**53 + 1, 2], dtype=object), 20, "exactly"),
        (pd.Series([DAY, MOMENT, None], dtype=object), 20, "a datetime .* began with date"),
        (pd.Series([MOMENT, MOMENT.replace(tzinfo=None), None], dtype=object), 20, "with a time zone beside"),
        (pd.Series([MOMENT, pd.Timestamp(1001, unit="ns", tz="UTC"), None], dtype=object), 20, "finer than a micro"),
        (pd.Series([None, pd.Timedelta(1, "ns"), None], dtype=object), 20, "finer than a micro"),
        (pd.Series([None, MOMENT.timetz(), None], dtype=object), 20, "time zone"),
        (pd.Series([Decimal(1), Decimal(f"1e{2**17}"), None], dtype=object), 20, "numeric"),
    ],
)
def test_a_value_that_cannot_be_stored_names_column_and_row(db: Postgres, values: Any, row: int, told: str) -> None:
    index = [10, 20, 30]
    frame = pd.DataFrame({"ok": pd.Series([1, 2, 3], index), "Bad One": values.set_axis(index)})
    with pytest.raises(UnstorableValue, match=told) as caught:
        db.export(frame, "public", "t")
    assert (caught.value.column, caught.value.row) == ("Bad One", row)
    assert not db.table_exists("public", "t")


def test_a_bad_value_in_a_later_batch_has_its_own_row(db: Postgres) -> None:
    texts = ["x"] * 40_000
    texts[33_333] = "\0"
    with pytest.raises(UnstorableValue) as caught:
        db.export(pd.DataFrame({"v": texts}), "public", "t")
    assert caught.value.position == 33_333


@pytest.mark.parametrize("dtype", ["complex", "interval", "period"])
def test_a_dtype_without_a_type_in_postgres_is_refused_by_name(db: Postgres, dtype: str) -> None:
    values = {
        "complex": pd.Series([1j]),
        "interval": pd.Series(pd.interval_range(0, 1)),
        "period": pd.Series(pd.period_range("2026", periods=1)),
    }
    with pytest.raises(ConnectorFault, match="Column v has dtype"):
        db.export(pd.DataFrame({"v": values[dtype]}), "public", "t")
