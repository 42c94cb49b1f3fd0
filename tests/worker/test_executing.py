"""Blocks that are wrong, one way each, called in a real worker: what is told, and that the worker lives on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import yaml
from headrace.engine.workers import WorkerPool
from headrace.worker.protocol import CodeRef, Failure, Input, Mode, Outcome, OutputRef

from tests.support.postgres import Server
from tests.support.profiles import write_profile
from tests.support.workers import Runs, make_pool, value_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    async with make_pool(spares=1) as pool:
        yield pool


@pytest.fixture
def run(pool: WorkerPool, tmp_path: Path) -> Runs:
    return Runs(pool, tmp_path)


async def failure_of(run: Runs, source: str, **fields) -> Failure:
    result = await run(source, **fields)
    assert result.outcome is Outcome.FAILED
    assert result.failure is not None
    assert value_of(await run("def f(): return 1")) == 1, "the next block runs"
    return result.failure


@pytest.mark.parametrize(
    ("source", "kind", "error", "told"),
    [
        ("@data_loader\ndef f(:\n    pass\n", "source", "SyntaxError", "invalid syntax"),
        ("@data_loader\ndef f():\nreturn 1\n", "source", "IndentationError", "expected an indented block"),
        ("@transformer\ndef f():\n    return 1\n", "source", "BlockSourceFault", "@data_loader"),
        ("# no decorator @ all\ndef f():\n    return 1\n", "source", "BlockSourceFault", "decorators found: none"),
        ("from nowhere import thing\n@data_loader\ndef f(): pass", "raised", "ModuleNotFoundError", "nowhere"),
        ("def f(a, b): return 1", "arguments", "BlockArgumentsFault", "takes 2 upstream outputs"),
        ("def f(url='x', **kwargs): return 1", "arguments", "BlockArgumentsFault", "takes 1 upstream outputs"),
        ("import threading\n@data_loader\ndef f(): return threading.Lock()", "output", "UnstorableOutput", "lock"),
        ("import sys\n@data_loader\ndef f(): return [1, {'k': sys._getframe()}]", "output", "UnstorableOutput", "output 1"),
        ("def f(): return 1\n@test\ndef t(a): assert a == 2, 'two'", "test", "BlockTestsFailed", "0 of 1 tests passed"),
        ("def f(): return 1, 2\n@test\ndef t(a): pass", "arguments", "BlockArgumentsFault", "2 outputs"),
        ("def f(): return 1\n@test\ndef t(a): a.b", "raised", "AttributeError", "'b'"),
        ("from mage_ai.io.bigquery import BigQuery\n@data_loader\ndef f(): pass", "raised", "ModuleNotFoundError",
         "mage_ai.io.bigquery"),
        ("async def f():\n    raise ValueError('late')", "raised", "ValueError", "late"),
        ("def f():\n    yield 1\n    raise ValueError('part')", "raised", "ValueError", "part"),
    ],
)  # fmt: skip
async def test_a_wrong_block_is_told_by_kind(run: Runs, source: str, kind: str, error: str, told: str) -> None:
    if "@data_loader" not in source and "@transformer" not in source and "# no" not in source:
        source = f"@data_loader\n{source}"
    failure = await failure_of(run, source)
    assert (failure.kind, failure.type) == (kind, error)
    assert told in failure.message
    assert "service/headrace" not in failure.text


async def test_too_few_parameters_for_the_upstream_blocks_are_told(run: Runs) -> None:
    ref = OutputRef((await run("def f(): return 1")).outputs[0].codec, b"1")
    inputs = (Input("left", (ref,)), Input("right", (ref,)))
    failure = await failure_of(run, "def f(a): return 1", inputs=inputs)
    assert failure.kind == "arguments"
    assert "left, right" in failure.message


async def test_a_syntax_error_tells_file_and_line(run: Runs, tmp_path: Path) -> None:
    failure = await failure_of(run, "@data_loader\ndef f():\n    x = = 1\n")
    assert f'File "{tmp_path / "b.py"}", line 3' in failure.text


def write_profile_of_nothing(folder: Path) -> None:
    settings = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": 1, "POSTGRES_DBNAME": "d", "POSTGRES_USER": "u"}
    (folder / "io_config.yaml").write_text(yaml.safe_dump({"default": settings}))


async def test_a_fault_in_a_sql_block_tells_file_and_line(run: Runs, tmp_path: Path) -> None:
    write_profile_of_nothing(tmp_path)
    source = "SELECT 1,\n  {{ block_output('nobody') }} -- @"
    failure = await failure_of(run, source, language="sql", code=CodeRef("b", "/p/b.sql", source))
    assert (failure.traceback[-1].file, failure.traceback[-1].line) == ("/p/b.sql", 2)
    assert 'File "/p/b.sql", line 2' in failure.text
    assert "nobody" in failure.text


async def test_a_fault_of_a_connector_ends_at_the_users_line(run: Runs, tmp_path: Path) -> None:
    write_profile_of_nothing(tmp_path)
    failure = await failure_of(
        run,
        """
        from headrace.io import ConfigFileLoader, Postgres
        @data_loader
        def f():
            with Postgres.with_config(ConfigFileLoader()) as loader:
                return loader.load("SELECT 1")
        """,
    )
    assert failure.type == "ConnectionRefused"
    assert [(frame.line, frame.function) for frame in failure.traceback] == [(5, "f")]
    assert "futures" not in failure.text
    assert "asyncpg" not in failure.text


async def test_a_condition_that_cannot_be_read_counts_as_false_and_is_logged(run: Runs, tmp_path: Path) -> None:
    conditions = (CodeRef("only", str(tmp_path / "only.py"), "@condition\ndef c(:\n"),)
    result = await run("def f(): return 1", conditions=conditions)
    assert result.outcome is Outcome.CONDITION_FALSE
    assert any("only" in text for text in run.texts)


async def test_tests_see_outputs_as_stored_and_cannot_change_what_comes_after(run: Runs) -> None:
    source = """
    @data_loader
    def f():
        return {'rows': [1]}
    @test
    def test_output(output):
        output['rows'].append(2)
    @test
    def test_output(output):
        assert output == {'rows': [1, 2]}
    """
    result = await run(source)
    assert (result.tests_passed, result.tests_failed) == (2, 0)
    assert value_of(result) == {"rows": [1]}


async def test_tests_alone_run_on_outputs_that_are_kept(run: Runs) -> None:
    source = "def f():\n    raise RuntimeError\n@test\ndef t(a, b): assert (a, b) == (1, 2)"
    outputs = (await run("def f(): return 1, 2")).outputs
    refs = tuple(OutputRef(output.codec, output.inline, output.path) for output in outputs)
    result = await run(f"@data_loader\n{source}", mode=Mode.TEST, inputs=(Input("b", refs),))
    assert result.tests_passed == 1, result.failure


async def test_a_query_ends_with_a_worker_that_is_killed(run: Runs, tmp_path: Path, postgres: Server) -> None:
    async with postgres.fresh("template1") as dsn:
        write_profile(tmp_path, dsn)
        source = """
        import os, threading
        from headrace.io import ConfigFileLoader, Postgres
        @data_loader
        def f():
            with Postgres.with_config(ConfigFileLoader()) as loader:
                loader.execute("SELECT pg_advisory_lock(7)")
                threading.Timer(0.2, os.kill, (os.getpid(), 9)).start()
                loader.execute("SELECT pg_sleep(60)")
        """
        result = await run(source)
        assert result.failure is not None
        assert result.failure.kind == "died"
        connection = await asyncpg.connect(dsn)
        await connection.execute("SELECT pg_advisory_lock(7)", timeout=20)
        await connection.close()


async def test_a_query_ends_with_the_block_that_waits_for_it(run: Runs, tmp_path: Path, postgres: Server) -> None:
    async with postgres.fresh("template1") as dsn:
        write_profile(tmp_path, dsn)
        source = """
        from headrace.io import ConfigFileLoader, Postgres
        @data_loader
        def f():
            with Postgres.with_config(ConfigFileLoader()) as loader:
                loader.execute("SELECT pg_sleep(60)")
        """
        result = await run(source, timeout=1, grace=10)
        assert result.failure is not None
        assert result.failure.kind == "timeout"
        connection = await asyncpg.connect(dsn)
        others = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
        assert await connection.fetchval(others) == 0
        await connection.close()
