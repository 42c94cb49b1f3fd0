"""Frames into tables: replace, append and upsert, names of columns, and what readers see meanwhile."""

from __future__ import annotations

import datetime
import threading
import uuid
from typing import Any

import pandas as pd
import pytest
from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.catalog import TableFault
from headrace.blocks.io.columns import UnstorableValue
from headrace.io import ConfigFileLoader, Postgres

from tests.support.tables import back, sql_types


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


def test_an_upsert_adds_what_is_new_and_updates_what_is_there(db: Postgres) -> None:
    db.upsert(pd.DataFrame({"ID": [1, 2], "v": ["a", "b"]}), "public", "t", ["ID"])
    db.upsert(pd.DataFrame({"ID": [2, 3], "v": ["B", "c"]}), "public", "t", ["ID"])
    assert db.load("SELECT * FROM t ORDER BY id").to_dict("list") == {"id": [1, 2, 3], "v": ["a", "B", "c"]}


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
