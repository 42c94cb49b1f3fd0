"""The Postgres connector on a real server: exports, loads, transactions and their faults."""

from __future__ import annotations

import asyncio
import datetime
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.catalog import TableFault
from headrace.blocks.io.columns import UnstorableValue
from headrace.blocks.io.connecting import ConnectionRefused
from headrace.io import ConfigFileLoader, Postgres
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.profiles import settings_of, write_profile

DAY = datetime.date(2026, 3, 1)
MOMENT = datetime.datetime(2026, 3, 1, 4, 5, tzinfo=datetime.UTC)


@pytest.fixture
def loader(empty_database_url: str, tmp_path: Path) -> ConfigFileLoader:
    return write_profile(tmp_path, empty_database_url)


@pytest.fixture
def db(loader: ConfigFileLoader) -> Iterator[Postgres]:
    with Postgres.with_config(loader, verbose=False) as opened:
        yield opened


def back(db: Postgres, frame: Any, **options: Any) -> pd.DataFrame:
    db.export(frame, "public", "t", **options)
    return db.load("SELECT * FROM t")


def sql_types(db: Postgres, table: str = "t") -> dict[str, str]:
    rows = db.load(f"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table}'")
    return dict(zip(rows["column_name"], rows["data_type"], strict=True))


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
    assert [str(v) if _absent(v) else v for v in found] == [str(v) if _absent(v) else v for v in expected]


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


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
    assert [str(v) if _absent(v) else v for v in found] == [str(v) if _absent(v) else v for v in expected]


def test_values_of_an_enum_are_text(db: Postgres) -> None:
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (v mood); INSERT INTO t VALUES ('ok'), (NULL)")
    found = db.load("SELECT v FROM t")["v"]
    assert (str(found.dtype), found[0], _absent(found[1])) == ("str", "ok", True)


def test_an_upsert_adds_what_is_new_and_updates_what_is_there(db: Postgres) -> None:
    db.upsert(pd.DataFrame({"ID": [1, 2], "v": ["a", "b"]}), "public", "t", ["ID"])
    db.upsert(pd.DataFrame({"ID": [2, 3], "v": ["B", "c"]}), "public", "t", ["ID"])
    assert db.load("SELECT * FROM t ORDER BY id").to_dict("list") == {"id": [1, 2, 3], "v": ["a", "B", "c"]}


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


def test_column_names_are_cleaned_and_reserved_words_marked(db: Postgres) -> None:
    frame = pd.DataFrame({"VendorID": [1], "type": [2], "2nd one": [3], "a-b": [4]})
    assert list(back(db, frame)) == ["vendorid", "_type", "letter_2nd_one", "a_b"]
    assert list(back(db, frame[["VendorID"]], case_sensitive=True)) == ["VendorID"]
    assert list(back(db, frame[["type"]], allow_reserved_words=True)) == ["type"]
    assert list(back(db, frame[["a-b"]], auto_clean_name=False)) == ["a-b"]


def test_two_columns_of_one_cleaned_name_are_refused(db: Postgres) -> None:
    with pytest.raises(ConnectorFault, match="'A' and 'a'"):
        db.export(pd.DataFrame({"A": [1], "a": [2]}), "public", "t")


def test_the_index_is_written_when_asked_for(db: Postgres) -> None:
    frame = pd.DataFrame({"v": [1, 2]}, index=pd.Index([5, 7], name="Key"))
    assert back(db, frame, index=True).to_dict("list") == {"key": [5, 7], "v": [1, 2]}


def test_replace_gives_the_table_the_new_columns_and_append_adds_rows(db: Postgres) -> None:
    db.export(pd.DataFrame({"a": [1]}), "New Schema", "t")
    db.export(pd.DataFrame({"b": ["x"]}), "New Schema", "t", if_exists="replace")
    db.export(pd.DataFrame({"b": ["y"]}), "New Schema", "t", if_exists="append")
    assert db.sample("New Schema", "t").to_dict("list") == {"b": ["x", "y"]}
    with pytest.raises(TableFault, match="exists already"):
        db.export(pd.DataFrame({"b": ["y"]}), "New Schema", "t", if_exists="fail")


def test_readers_see_the_old_table_until_the_new_one_is_whole(db: Postgres, loader: ConfigFileLoader) -> None:
    db.export(pd.DataFrame({"v": [0] * 1000}), "public", "t")
    stop, seen = threading.Event(), set()

    def read() -> None:
        with Postgres.with_config(loader, verbose=False) as reader:
            while not stop.is_set():
                row = reader.load("SELECT count(*) AS n, min(v) AS low, max(v) AS high FROM t").iloc[0]
                seen.add((int(row["n"]), int(row["low"]), int(row["high"])))
                reader.commit()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(1, 15):
            db.export(pd.DataFrame({"v": [number] * 1000}), "public", "t", if_exists="replace")
    finally:
        stop.set()
        thread.join()
    assert seen <= {(1000, number, number) for number in range(15)}
    assert len(seen) > 1


def test_a_reader_with_an_older_snapshot_finds_rows_and_not_an_empty_table(
    db: Postgres, loader: ConfigFileLoader
) -> None:
    db.export(pd.DataFrame({"v": [0] * 1000}), "public", "t")
    with Postgres.with_config(loader, verbose=False) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.load("SELECT 1")
        db.export(pd.DataFrame({"v": [1] * 1000}), "public", "t")
        assert len(reader.load("SELECT * FROM t")) == 1000
        reader.rollback()


def test_an_open_cursor_of_the_same_transaction_does_not_hinder_an_export(db: Postgres) -> None:
    db.execute("DECLARE mine CURSOR WITH HOLD FOR SELECT generate_series(1, 3) AS n")
    assert list(db.load("FETCH 2 FROM mine")["n"]) == [1, 2]
    db.export(pd.DataFrame({"v": [1]}), "public", "t")
    assert list(db.load("FETCH 2 FROM mine")["n"]) == [3]


def test_rights_on_a_table_outlast_its_replacement(db: Postgres) -> None:
    db.export(pd.DataFrame({"v": [1]}), "public", "t")
    db.execute("GRANT SELECT, INSERT ON t TO PUBLIC; GRANT DELETE ON t TO pg_monitor WITH GRANT OPTION")
    db.commit()
    db.export(pd.DataFrame({"w": [1]}), "public", "t")
    query = (
        "SELECT grantee, privilege_type, is_grantable FROM information_schema.table_privileges WHERE table_name = 't'"
    )
    found = {tuple(row) for row in db.fetched(query)[1]}
    assert {("PUBLIC", "SELECT", "NO"), ("PUBLIC", "INSERT", "NO"), ("pg_monitor", "DELETE", "YES")} <= found


def test_a_failed_replace_leaves_the_old_table(db: Postgres) -> None:
    db.export(pd.DataFrame({"v": ["old"]}), "public", "t")
    with pytest.raises(UnstorableValue):
        db.export(pd.DataFrame({"v": ["a\0"]}), "public", "t")
    assert list(db.load("SELECT v FROM t")["v"]) == ["old"]
    assert list(db.load("SELECT relname FROM pg_class WHERE relname LIKE '%headrace%'")["relname"]) == []


def test_a_view_on_the_table_stops_its_replacement_unless_it_may_go_too(db: Postgres) -> None:
    db.export(pd.DataFrame({"v": [1]}), "public", "t")
    db.execute("CREATE VIEW seen AS SELECT * FROM t")
    db.commit()
    with pytest.raises(TableFault, match=r"view seen.*cascade_on_drop"):
        db.export(pd.DataFrame({"v": [2]}), "public", "t")
    db.export(pd.DataFrame({"v": [2]}), "public", "t", cascade_on_drop=True)
    assert list(db.load("SELECT v FROM t")["v"]) == [2]
    with pytest.raises(ConnectorFault, match="seen"):
        db.load("SELECT * FROM seen")


def test_append_goes_by_name_and_casts_to_the_tables_types(db: Postgres) -> None:
    db.execute("CREATE TABLE t (day date, n smallint, name varchar(3), extra int DEFAULT 9)")
    db.export(pd.DataFrame({"name": ["abc"], "N": [7], "day": ["2026-03-01"]}), "public", "t", if_exists="append")
    assert db.load("SELECT * FROM t").iloc[0].to_dict() == {
        "day": datetime.date(2026, 3, 1), "n": 7, "name": "abc", "extra": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values", "row"),
    [
        ("integer", [1.0, 2.5], 1),
        ("smallint", [1, 70_000], 1),
        ("integer", [1.0, 1e20], 1),
        ("bigint", pd.Series([1, 2**64 - 1], dtype="uint64"), 1),
        ("real", [0.5, 0.1], 1),
        ("numeric(5, 2)", [1.25, 1.255], 1),
        ("numeric(5, 2)", [1, 1000], 1),
        ("varchar(3)", ["abc", "abcd"], 1),
        ("varchar(3)", ["abc", "abc "], 1),
        ("varchar(3)", [999, 1000], 1),
        ("integer", ["1", "two"], 1),
        ("date", list(pd.to_datetime(["2026-01-01 00:00", "2026-01-01 05:00"])), 1),
    ],
)  # fmt: skip
def test_append_never_changes_a_value(db: Postgres, kind: str, values: Any, row: int) -> None:
    db.execute(f"CREATE TABLE t (v {kind})")
    db.commit()
    with pytest.raises(UnstorableValue, match="without a change") as caught:
        db.export(pd.DataFrame({"v": values}), "public", "t", if_exists="append")
    assert (caught.value.column, caught.value.row) == ("v", row)
    assert db.load("SELECT * FROM t").empty


@pytest.mark.parametrize(
    ("kind", "values", "stored"),
    [
        ("numeric", [0.1 + 0.2, float("inf")], ["0.30000000000000004", "Infinity"]),
        ("numeric(6, 2)", [12.35, None], ["12.35", None]),
        ("integer", [1.0, None], ["1", None]),
        ("double precision", pd.Series([1.1], dtype="float32"), ["1.100000023841858"]),
        ("integer", [True, False], ["1", "0"]),
        ("json", [{"a": 1}], ['{"a": 1}']),
        ("text", [1, 2], ["1", "2"]),
        ("date", pd.to_datetime(["2026-03-01"]), ["2026-03-01"]),
        ("timestamptz", pd.to_datetime(["2026-03-01"]), ["2026-03-01 00:00:00+00"]),
        ("uuid", [str(uuid.UUID(int=5))], [str(uuid.UUID(int=5))]),
        ("inet", ["10.0.0.1"], ["10.0.0.1/32"]),
        ("int[]", [[1, 2]], ["{1,2}"]),
    ],
)
def test_append_casts_what_stays_the_same(db: Postgres, kind: str, values: Any, stored: list[Any]) -> None:
    db.execute(f"CREATE TABLE t (v {kind})")
    db.export(pd.DataFrame({"v": values}), "public", "t", if_exists="append")
    found = db.load("SELECT v::text AS v FROM t")["v"]
    assert [None if pd.isna(value) else value for value in found] == stored


def test_append_names_the_columns_that_the_table_lacks(db: Postgres) -> None:
    db.export(pd.DataFrame({"a": [1]}), "public", "t")
    with pytest.raises(TableFault, match="no column b, c"):
        db.export(pd.DataFrame({"a": [1], "b": [1], "c": [1]}), "public", "t", if_exists="append")


def test_upsert_updates_or_leaves_the_rows_that_are_there(db: Postgres) -> None:
    options: dict[str, Any] = {"if_exists": "append", "unique_constraints": ["ID"]}
    db.export(pd.DataFrame({"ID": [1, 2], "v": ["a", "b"]}), "public", "t", **options)
    db.export(
        pd.DataFrame({"ID": [2, 3, 3], "v": ["B", "c", "C"]}), "public", "t", unique_conflict_method="UPDATE", **options
    )
    db.export(pd.DataFrame({"ID": [1, 4], "v": ["no", "d"]}), "public", "t", **options)
    rows = db.load("SELECT * FROM t ORDER BY id")
    assert dict(zip(rows["id"], rows["v"], strict=True)) == {1: "a", 2: "B", 3: "C", 4: "d"}


def test_upsert_into_a_table_without_the_unique_index_says_so(db: Postgres) -> None:
    db.export(pd.DataFrame({"id": [1]}), "public", "t")
    with pytest.raises(TableFault, match="CREATE UNIQUE INDEX"):
        db.export(pd.DataFrame({"id": [1]}), "public", "t", if_exists="append", unique_constraints=["id"])


def test_types_can_be_overwritten(db: Postgres) -> None:
    back(db, pd.DataFrame({"a": ["1"], "b": [2]}), overwrite_types={"a": "integer", "b": "numeric(5, 2)"})
    assert sql_types(db) == {"a": "integer", "b": "numeric"}


def test_a_querys_rows_can_be_exported(db: Postgres) -> None:
    for policy in ("replace", "append", "replace"):
        db.export(None, "public", "t", if_exists=policy, query_string="SELECT 1 AS a, 'x'::text AS b;")
    assert db.load("SELECT * FROM t").to_dict("list") == {"a": [1], "b": ["x"]}


def test_dicts_lists_and_empty_frames_are_exported(db: Postgres) -> None:
    assert back(db, {"a": [1, 2]}).to_dict("list") == {"a": [1, 2]}
    assert back(db, [{"a": 1}, {"a": 2}]).to_dict("list") == {"a": [1, 2]}
    empty = back(db, pd.DataFrame({"a": pd.Series([], dtype="int64"), "b": pd.Series([], dtype="str")}))
    assert (list(empty), len(empty), str(empty["a"].dtype)) == (["a", "b"], 0, "int64")


def insert(loader: ConfigFileLoader, value: int, end: str = "") -> None:
    with Postgres.with_config(loader, verbose=False) as other:
        other.execute("INSERT INTO t VALUES (%(n)s)", n=value)
        if end == "raise":
            raise ZeroDivisionError
        if end:
            getattr(other, end)()


def test_what_is_executed_lasts_only_once_it_is_committed(
    db: Postgres, loader: ConfigFileLoader, caplog: pytest.LogCaptureFixture
) -> None:
    db.execute_query_raw("CREATE TABLE t (v int)")
    with pytest.raises(ZeroDivisionError):
        insert(loader, 1, "raise")
    insert(loader, 2, "commit")
    insert(loader, 3, "rollback")
    assert caplog.messages == []
    insert(loader, 4)
    assert "commit()" in caplog.text
    assert list(db.load("SELECT v FROM t")["v"]) == [2]


def test_an_export_commits_what_was_executed_before_it(db: Postgres, loader: ConfigFileLoader) -> None:
    with Postgres.with_config(loader, verbose=False) as other:
        other.execute("CREATE TABLE u (v int)")
        other.export(pd.DataFrame({"v": [1]}), "public", "t")
    assert db.table_exists("public", "u")


def test_load_keeps_to_its_limit_and_takes_any_statement_with_rows(db: Postgres) -> None:
    assert len(db.load("SELECT generate_series(1, 100) AS n;", limit=7)) == 7
    assert db.load("WITH x AS (SELECT 1 AS n) SELECT n AS a, n AS a FROM x").columns.tolist() == ["a", "a"]
    assert list(db.load("VALUES (%(n)s::int)", params={"n": 4}).iloc[0]) == [4]
    assert len(db.load("SELECT 1", limit=0)) == 0


def test_queries_run_in_order_and_give_frames_where_asked(db: Postgres) -> None:
    results = db.execute_queries(
        ["CREATE TABLE t (v int)", "INSERT INTO t VALUES (1)", "SELECT * FROM t"], fetch_query_at_indexes=[2]
    )
    assert results[:2] == [None, None]
    assert results[2] is not None
    assert list(results[2]["v"]) == [1]


def test_a_raw_text_runs_whole_and_outside_a_transaction(db: Postgres) -> None:
    db.execute_query_raw("CREATE TABLE t (v int); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
    db.execute_query_raw("VACUUM t")
    assert len(db.load("SELECT * FROM t")) == 2


def test_what_postgres_refuses_is_told_with_its_words(db: Postgres) -> None:
    with pytest.raises(ConnectorFault, match='relation "nowhere" does not exist'):
        db.load("SELECT * FROM nowhere")


def test_it_works_inside_of_a_running_loop(loader: ConfigFileLoader) -> None:
    async def block() -> int:
        with Postgres.with_config(loader, verbose=False) as opened:
            return len(opened.load("SELECT 1"))

    assert asyncio.run(block()) == 1


def test_a_connection_that_fails_says_where_and_as_whom_but_not_the_password(empty_database_url: str) -> None:
    wrong = {**settings_of(empty_database_url), "POSTGRES_DBNAME": "nowhere", "POSTGRES_PASSWORD": "hush"}
    with pytest.raises(ConnectionRefused, match=r"nowhere.*") as caught:
        Postgres.with_config(ConfigFileLoader(config=wrong), verbose=False).open()
    told = str(caught.value)
    assert str(wrong["POSTGRES_HOST"]) in told
    assert str(wrong["POSTGRES_PORT"]) in told
    assert str(wrong["POSTGRES_USER"]) in told
    assert "hush" not in told


def test_a_port_where_nothing_listens_is_refused_at_once() -> None:
    config = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": 1, "POSTGRES_DBNAME": "d", "POSTGRES_USER": "u"}
    with pytest.raises(ConnectionRefused, match=r"127\.0\.0\.1:1 as u"):
        Postgres.with_config(ConfigFileLoader(config=config), verbose=False).open()


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConnectorFault, match="POSTGRES_HOST"):
        Postgres.with_config(ConfigFileLoader(config={"POSTGRES_USER": "u"}))


def test_use_without_opening_says_how_to_open(loader: ConfigFileLoader) -> None:
    with pytest.raises(ConnectorFault, match="with Postgres"):
        Postgres.with_config(loader, verbose=False).load("SELECT 1")


def test_it_tells_what_it_does_as_mage_does(loader: ConfigFileLoader, capsys: pytest.CaptureFixture[str]) -> None:
    with Postgres.with_config(loader) as opened:
        opened.export(pd.DataFrame({"a": [1]}), "public", "t")
    told = capsys.readouterr().out
    assert told.startswith("Postgres initialized\n└─ Opening connection to PostgreSQL database...DONE\n")
    assert "public.t" in told
