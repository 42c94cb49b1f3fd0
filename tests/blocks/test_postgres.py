"""The Postgres connector on a real server: connections, transactions and their faults."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.connecting import ConnectionRefused
from headrace.io import ConfigFileLoader, Postgres

from tests.support.profiles import settings_of


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
