"""SQL blocks on a real server: tables they make, raw statements, upstream frames, faults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from headrace.blocks.sql import ProviderNotSupported, SqlBlockFault, run_sql_block
from headrace.blocks.templating import TemplateError
from headrace.domain.errors import HeadraceError
from headrace.io import Postgres

from tests.support.profiles import write_profile


class Project:
    """A project with one profile, and a SQL block to run in it."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.loader = write_profile(folder, dsn)

    def run(
        self, sql: str, inputs: Any = None, variables: Any = None, made: Any = None, **configuration: Any
    ) -> list[Any]:
        kwargs = {
            "pipeline_uuid": "my pipe",
            "block_uuid": "the/block",
            "repo_path": str(self.folder),
            **(variables or {}),
        }
        return run_sql_block(sql, inputs or {}, configuration, kwargs, made)

    def load(self, query: str) -> list[dict[Any, Any]]:
        with Postgres.with_config(self.loader, verbose=False) as db:
            return db.load(query).to_dict("records")


@pytest.fixture
def project(empty_database_url: str, tmp_path: Path) -> Project:
    return Project(tmp_path, empty_database_url)


TABLE = "public.my_pipe_the_block_v1"


def test_a_query_becomes_the_blocks_table_and_its_rows_the_output(project: Project) -> None:
    [frame] = project.run("SELECT 1 AS a;\n")
    assert frame.to_dict("records") == project.load(f"SELECT * FROM {TABLE}") == [{"a": 1}]


@pytest.mark.parametrize(("policy", "rows"), [("replace", 1), ("append", 2), (None, 2)])
def test_the_write_policy_is_kept_and_append_is_the_default(project: Project, policy: str | None, rows: int) -> None:
    for _ in range(2):
        [frame] = project.run("SELECT 1 AS a", export_write_policy=policy)
    assert len(frame) == rows


def test_fail_refuses_the_second_time(project: Project) -> None:
    project.run("SELECT 1 AS a", export_write_policy="fail")
    with pytest.raises(HeadraceError, match="exists already"):
        project.run("SELECT 1 AS a", export_write_policy="fail")


def test_schema_table_and_limit_come_from_the_configuration(project: Project) -> None:
    [frame] = project.run(
        "SELECT generate_series(1, 9) AS n",
        data_provider_schema="mart", data_provider_table="days", limit_in_pipeline_run=4,
    )  # fmt: skip
    assert len(frame) == 4
    assert project.load("SELECT count(*) AS n FROM mart.days") == [{"n": 9}]


def test_an_upstream_frame_is_a_table_when_the_query_mentions_it(project: Project) -> None:
    inputs = {"load it": [pd.DataFrame({"N": [1, 2]})], "other": [pd.DataFrame({"x": [1]})]}
    [frame] = project.run("SELECT sum(n)::int AS total FROM {{ df_1 }}", inputs)
    assert frame.to_dict("records") == [{"total": 3}]
    names = project.load(
        "SELECT relname AS n FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    assert [row["n"] for row in names] == ["my_pipe_load_it_v1", "my_pipe_the_block_v1"]


def test_an_upstream_sql_block_s_own_table_is_read_where_it_is(project: Project) -> None:
    made = {"data_provider_table": "days", "limit_in_pipeline_run": 2}
    project.run("SELECT n::smallint AS n FROM generate_series(1, 9) AS n", **made)
    inputs = {"up": [pd.DataFrame({"n": [1, 2]})]}
    [frame] = project.run("SELECT count(*)::int AS rows FROM {{ df_1 }}", inputs, made={"up": made})
    assert frame.to_dict("records") == [{"rows": 9}]
    assert project.load("SELECT pg_typeof(n)::text AS kind FROM days LIMIT 1") == [{"kind": "smallint"}]


@pytest.mark.parametrize(
    "made", [{"use_raw_sql": True}, {"data_provider_profile": "other"}, {"data_provider_table": "is_not_there"}]
)
def test_the_output_of_an_upstream_sql_block_without_such_a_table_is_exported(
    project: Project, made: dict[str, Any]
) -> None:
    inputs = {"up": [pd.DataFrame({"n": [1, 2]})]}
    [frame] = project.run("SELECT sum(n)::int AS n FROM {{ df_1 }}", inputs, made={"up": made})
    assert frame.to_dict("records") == [{"n": 3}]


def test_the_configuration_names_the_table_of_an_upstream_block(project: Project) -> None:
    asked = {"up": {"table_name": "postgres.Stage.Rows"}}
    inputs = {"up": [pd.DataFrame({"n": [1]})]}
    project.run("SELECT * FROM {{ df_1 }}", inputs, upstream_block_configuration=asked)
    assert project.load("SELECT n FROM stage.rows") == [{"n": 1}]


def test_blocks_that_need_the_same_upstream_at_once_do_not_hinder_each_other(project: Project) -> None:
    inputs = {"up": [pd.DataFrame({"n": range(100)})]}

    def run(number: int) -> int:
        [frame] = project.run(
            "SELECT count(*)::int AS n FROM {{ df_1 }}", inputs, {"block_uuid": f"b{number}"},
            data_provider_schema="new", export_write_policy="replace",
        )  # fmt: skip
        return int(frame["n"][0])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(16))) == [100] * 16


@pytest.mark.parametrize("policy", ["append", "replace"])
def test_exports_into_one_new_table_at_once_all_arrive(project: Project, policy: str) -> None:
    def run(number: int) -> None:
        project.run(f"SELECT {number} AS n", data_provider_schema="new", export_write_policy=policy)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(16)))
    rows = project.load("SELECT n FROM new.my_pipe_the_block_v1")
    assert len(rows) == (16 if policy == "append" else 1)


def test_block_output_is_python_and_its_value_part_of_the_query(project: Project) -> None:
    inputs = {"rows": [pd.DataFrame({"n": [4, 5]})], "day": ["monday"], "many": [1, {"k": 2}]}
    sql = """
    SELECT {{ block_output('rows', parse=lambda data, variables: data['n'].sum() + variables['more']) }} AS a,
        '{{ block_output('day',
            parse=lambda data, variables: {'is': data}['is']) }}' AS b,
        {{ block_output(parse=lambda data, variables: data[0][1]['n'] + data[2][1]['k']) }} AS c,
        {{ block_output('many', lambda data, _: math.floor(json.loads('[1.5]')[0]) + data[0]) }} AS d,
        '{{ variables('word') }} {{ block_output("day") }}' AS e
    """
    [frame] = project.run(sql, inputs, {"more": 1, "word": "on"})
    assert frame.iloc[0].to_dict() == {"a": 10, "b": "monday", "c": 7, "d": 2, "e": "on monday"}


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("block_output('nowhere')", r"line 2.*no upstream block nowhere \(upstream blocks: up\)"),
        ("block_output('up', parse=lambda data, variables: data['k'])", "line 2 raised"),
        ("block_output('up', parse=lambda data:", "line 2 is not Python"),
    ],
)
def test_a_block_output_that_fails_names_its_line(project: Project, expression: str, told: str) -> None:
    with pytest.raises(SqlBlockFault, match=told) as caught:
        project.run(f"SELECT\n{{{{ {expression} }}}}", {"up": [3]})
    assert caught.value.line == 2


def test_a_name_that_is_not_known_is_told_with_its_line(project: Project) -> None:
    with pytest.raises(TemplateError, match="'nobody' is undefined") as caught:
        project.run("SELECT {{ block_output(\n'up') }},\n'{{ nobody }}'", {"up": [3]})
    assert caught.value.line == 3


def test_an_upstream_that_is_not_there_is_told(project: Project) -> None:
    with pytest.raises(SqlBlockFault, match="df_2"):
        project.run("SELECT * FROM {{ df_2 }}", {"a": [pd.DataFrame({"x": [1]})]})


def test_variables_are_rendered(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "north")
    sql = (
        "SELECT '{{ day }}' AS day, '{{ env_var('REGION') }}' AS place, {{ variables('n') }} AS n,"
        " '{{ mage_secret_var('REGION') }}' AS secret"
    )
    [frame] = project.run(sql, variables={"day": "monday", "n": 4})
    assert frame.to_dict("records") == [{"day": "monday", "place": "north", "n": 4, "secret": "north"}]


def test_the_last_raw_statement_with_rows_is_the_output(project: Project) -> None:
    sql = """
    CREATE TABLE a AS SELECT 1 AS n;
    UPDATE a SET n = 2;
    DO $$ BEGIN INSERT INTO a VALUES (3); INSERT INTO a VALUES (4); END $$;
    SELECT 'a;b' AS t;
    INSERT INTO a VALUES (5) RETURNING n;
    DELETE FROM a WHERE n = 4;
    """
    [frame] = project.run(sql, use_raw_sql=True)
    assert frame.to_dict("records") == [{"n": 5}]
    assert project.load("SELECT n FROM a ORDER BY n") == [{"n": 2}, {"n": 3}, {"n": 5}]


def test_raw_statements_are_one_transaction_and_a_fault_names_statement_and_line(project: Project) -> None:
    with pytest.raises(SqlBlockFault, match=r"Statement 2, line 4: .*nowhere") as caught:
        project.run("CREATE TABLE a (n int);\nSELECT 1,\n  2\n  FROM nowhere;\nSELECT 3", use_raw_sql=True)
    assert caught.value.line == 4
    assert project.load("SELECT to_regclass('a') IS NULL AS gone") == [{"gone": True}]


@pytest.mark.parametrize(
    "last",
    [
        "",
        "; UPDATE a SET n = n + 0",
        "; DROP TABLE IF EXISTS b; WITH x AS (SELECT 3 AS n) INSERT INTO A SELECT n FROM x",
    ],
)
def test_raw_statements_without_rows_give_those_of_the_table_they_filled(project: Project, last: str) -> None:
    [frame] = project.run(f"CREATE TABLE a AS SELECT n FROM generate_series(1, 2000) AS n{last}", use_raw_sql=True)
    assert len(frame) == 1000


@pytest.mark.parametrize("sql", ["CREATE TABLE a (n int); DROP TABLE a", "CREATE SCHEMA s", "SET search_path = public"])
def test_raw_statements_without_rows_or_table_have_no_output(project: Project, sql: str) -> None:
    assert project.run(sql, use_raw_sql=True) == []


def test_without_preprocessing_the_text_runs_whole(project: Project) -> None:
    assert project.run("CREATE TABLE a (n int); INSERT INTO a VALUES (1)", disable_query_preprocessing=True) == []
    assert project.load("SELECT n FROM a") == [{"n": 1}]


def test_a_fault_in_a_query_names_the_line(project: Project) -> None:
    with pytest.raises(SqlBlockFault, match=r"line 2: .*nowhere"):
        project.run("SELECT *\nFROM nowhere")


def test_two_statements_need_raw_sql(project: Project) -> None:
    with pytest.raises(SqlBlockFault, match="use_raw_sql"):
        project.run("SELECT 1; SELECT 2")


def test_another_provider_is_refused_by_name(project: Project) -> None:
    with pytest.raises(ProviderNotSupported, match="bigquery"):
        project.run("SELECT 1", data_provider="bigquery")
