"""Whole runs through the engine on a real database and real workers: order, overlap, retries, cancel, keeping."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from headrace.engine.creating import NoStoredOutput, StillRunning, UnusableVariable
from headrace.engine.reading import UnknownBlock, UnknownOutput, UnknownRun
from headrace.engine.views import RunView
from headrace.service import Headrace, open_headrace
from headrace.store.errors import OutputsRemoved
from headrace.store.queries import QUERIES
from headrace.store.retention import drop_old_outputs

from tests.chaos.checker import faults
from tests.support.projects import write_pipeline, write_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


@asynccontextmanager
async def opened(root: Path, database_url: str) -> AsyncIterator[Headrace]:
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(root, environ=environ) as headrace:
        yield headrace
        async with headrace.database.pool.acquire() as connection:
            assert await faults(connection) == []


async def run(headrace: Headrace, pipeline: str, **options) -> RunView:
    async with asyncio.timeout(60):
        return await headrace.finished(await headrace.create_run(pipeline, **options))


def statuses(view: RunView) -> dict[str, str]:
    return {block.uuid: block.status for block in view.blocks}


async def value(headrace: Headrace, view: RunView, block: str) -> object:
    output, parts = await headrace.output_parts(view.id, block)
    import json

    assert output.codec == "json"
    return json.loads(b"".join([part async for part in parts]))


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("a",), "e": ("b", "c", "d")}
SLEEP = "import time\n@custom\ndef body(*args, **kwargs):\n    time.sleep(1)\n    return 1\n"


async def test_branches_of_a_diamond_run_at_once(root, database_url):
    write_pipeline(root, "diamond", DIAMOND, dict.fromkeys("bcd", SLEEP))
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "diamond")
    assert view.status == "completed"
    blocks = {block.uuid: block for block in view.blocks}
    branches = [blocks[name] for name in "bcd"]
    assert max(b.started_at for b in branches) < min(b.finished_at for b in branches), "all three overlap"
    assert blocks["a"].finished_at <= min(b.started_at for b in branches)
    assert blocks["e"].started_at >= max(b.finished_at for b in branches)
    assert (view.finished_at - view.started_at).total_seconds() < 1.6


async def test_values_travel_in_the_order_of_upstream_blocks(root, database_url):
    write_pipeline(
        root,
        "order",
        {"a": (), "b": (), "c": ("b", "a")},
        {
            "a": "@custom\ndef body():\n    return {'from': 'a'}\n",
            "b": "@custom\ndef body():\n    return {'from': 'b'}\n",
            "c": "@custom\ndef body(first, second, **kwargs):\n    return {'got': [first['from'], second['from']]}\n",
        },
    )
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "order")
        assert view.status == "completed", view.error
        assert await value(headrace, view, "c") == {"got": ["b", "a"]}


async def test_a_failed_block_is_tried_again_and_each_attempt_is_kept(root, database_url, tmp_path):
    source = (
        "import pathlib\n@custom\ndef body(*args, **kwargs):\n"
        f"    ledger = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "    tries = int(ledger.read_text()) if ledger.exists() else 0\n"
        "    ledger.write_text(str(tries + 1))\n"
        "    assert tries >= 2, f'try {tries}'\n"
        "    return tries\n"
    )
    write_pipeline(root, "retry", {"a": ()}, {"a": source}, options={"retry_config": {"retries": 3, "delay": 0.05}})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "retry")
        assert view.status == "completed"
        assert view.blocks[0].attempt == 3
        rows = await headrace.database.fetch("SELECT number, outcome FROM headrace.attempt ORDER BY number")
        assert [(row["number"], row["outcome"]) for row in rows] == [(1, "failed"), (2, "failed"), (3, "completed")]


async def test_a_failure_tells_the_user_s_file_and_line_and_nothing_of_ours(root, database_url):
    write_pipeline(root, "broken", {"a": (), "b": ("a",)}, {"a": "@custom\ndef body():\n    return 1 / 0\n"})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "broken")
    assert view.status == "failed"
    assert statuses(view) == {"a": "failed", "b": "upstream_failed"}
    error = view.blocks[0].error
    assert error["type"] == "ZeroDivisionError"
    assert "pipelines/broken/a.py" in error["text"]
    assert "line 3" in error["text"]
    assert "headrace/" not in error["text"].replace(str(root), "")
    assert "block a failed" in view.reason


async def test_a_block_that_passes_its_time_limit_fails_with_the_limit_told(root, database_url):
    source = "@custom\ndef body():\n    while True:\n        pass\n"
    write_pipeline(root, "endless", {"a": ()}, {"a": source}, block_options={"a": {"timeout": 0.3}})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "endless")
    assert view.status == "failed"
    assert view.blocks[0].error["kind"] == "timeout"


async def test_a_run_that_passes_its_time_limit_fails(root, database_url):
    write_pipeline(root, "long", {"a": ()}, {"a": "import time\n@custom\ndef body():\n    time.sleep(60)\n"},
                   options={"timeout": 0.3})  # fmt: skip
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "long")
    assert view.status == "failed"
    assert "time limit" in view.reason


async def test_cancel_stops_running_blocks_and_drops_waiting_ones(root, database_url):
    write_pipeline(
        root, "long", {"a": (), "b": ("a",)}, {"a": "import time\n@custom\ndef body():\n    time.sleep(60)\n"}
    )
    async with opened(root, database_url) as headrace:
        number = await headrace.create_run("long")
        async for view in headrace.changes(number):
            if view.blocks[0].status == "running":
                await headrace.cancel(number)
                break
        began = time.monotonic()
        view = await headrace.finished(number)
        assert time.monotonic() - began < 6
    assert view.status == "cancelled"
    assert statuses(view) == {"a": "cancelled", "b": "cancelled"}


async def test_a_worker_that_dies_costs_one_attempt(root, database_url):
    source = "import os\n@custom\ndef body(**kwargs):\n    if kwargs['retry']['attempts'] < 2:\n        os._exit(139)\n    return 7\n"
    write_pipeline(root, "crash", {"a": ()}, {"a": source}, options={"retry_config": {"retries": 1, "delay": 0}})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "crash")
        rows = await headrace.database.fetch("SELECT error FROM headrace.attempt ORDER BY number")
    assert view.status == "completed", view.error
    assert rows[0]["error"]["kind"] == "died"
    assert "139" in rows[0]["error"]["message"]


async def test_a_block_that_returned_nothing_says_so_where_its_output_is_asked_for(root, database_url):
    write_pipeline(root, "silent", {"a": ()}, {"a": "@custom\ndef body():\n    pass\n"})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "silent")
        with pytest.raises(UnknownOutput, match="has no output: its function returned nothing"):
            await headrace.output_parts(view.id, "a")


async def test_a_condition_that_does_not_hold_leaves_out_the_block_and_what_follows(root, database_url):
    folder = write_pipeline(
        root,
        "conditional",
        {"a": (), "b": ("a",), "c": ("b",), "d": ("a",)},
        options={
            "conditionals": [
                {"uuid": "only_big", "name": "only_big", "type": "conditional", "language": "python",
                 "upstream_blocks": ["b"]}
            ]
        },
    )  # fmt: skip
    (folder / "only_big.py").write_text("@condition\ndef big(number, *args, **kwargs):\n    return number > 10\n")
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "conditional")
    assert view.status == "completed"
    assert statuses(view) == {"a": "completed", "b": "condition_failed", "c": "condition_failed", "d": "completed"}
    told = {block.uuid: (block.reason, block.error) for block in view.blocks}
    assert told["b"] == ("the condition only_big does not hold: big gave a false value", None)
    assert told["c"] == ("left out, as b was", None)


async def test_callbacks_are_called_before_the_run_ends(root, database_url, tmp_path):
    note = tmp_path / "note"
    folder = write_pipeline(
        root,
        "callbacks",
        {"a": (), "b": ("a",)},
        {"b": "@custom\ndef body(*args):\n    raise ValueError('no')\n"},
        options={
            "callbacks": [
                {
                    "uuid": "tell",
                    "name": "tell",
                    "type": "callback",
                    "language": "python",
                    "upstream_blocks": ["a", "b"],
                }
            ]
        },
    )
    (folder / "tell.py").write_text(
        f"def note(text):\n    with open({str(note)!r}, 'a') as file:\n        file.write(text + '\\n')\n"
        "@callback('success')\ndef good(parent_block_data, **kwargs):\n    note('success ' + kwargs['block_uuid'])\n"
        "@callback('failure')\ndef bad(parent_block_data, **kwargs):\n    note('failure ' + kwargs['parent_block_uuid'])\n"
    )
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "callbacks")
    assert view.status == "failed"
    # The callback of `a` holds up nothing but the run's end.
    assert sorted(note.read_text().splitlines()) == ["failure b", "success a"]


async def test_a_cancel_stops_a_callback_that_would_never_end(root, database_url, tmp_path):
    folder = write_pipeline(root, "callbacks", {"a": (), "b": ("a",)}, options={
        "callbacks": [{"uuid": "tell", "name": "tell", "type": "callback", "language": "python", "upstream_blocks": ["a"]}]
    })  # fmt: skip
    (folder / "tell.py").write_text(
        f"import time\n@callback('success')\ndef good(*args, **kwargs):\n    open({str(tmp_path / 'called')!r}, 'w').close()\n"
        "    time.sleep(600)\n"
    )
    async with opened(root, database_url) as headrace:
        number = await headrace.create_run("callbacks")
        async with asyncio.timeout(20):
            while not (tmp_path / "called").exists():
                await asyncio.sleep(0.01)
            await headrace.cancel(number)
            view = await headrace.finished(number)
    assert view.status == "cancelled"
    assert statuses(view)["a"] == "completed"


async def test_a_sensor_waits_without_holding_a_worker(root, database_url, tmp_path):
    flag = tmp_path / "flag"
    source = f"import os\n@sensor(interval=0.1)\ndef look(*args, **kwargs):\n    return os.path.exists({str(flag)!r})\n"
    write_pipeline(root, "sensing", {"s": (), "after": ("s",)}, {"s": source}, types={"s": "sensor"},
                   options={"concurrency_config": {"block_run_limit": 1}})  # fmt: skip
    async with opened(root, database_url) as headrace:
        number = await headrace.create_run("sensing")
        async for view in headrace.changes(number):
            if view.blocks[0].status == "queued" and "seen nothing yet" in (view.blocks[0].reason or ""):
                break
        flag.touch()
        view = await headrace.finished(number)
    assert view.status == "completed"
    assert view.blocks[0].attempt == 1


async def test_a_sensor_cancelled_between_two_looks_leaves_its_attempt_in_the_record(root, database_url):
    source = "@sensor(interval=60)\ndef look(*args, **kwargs):\n    return False\n"
    write_pipeline(root, "sensing", {"s": ()}, {"s": source}, types={"s": "sensor"})
    async with opened(root, database_url) as headrace:
        number = await headrace.create_run("sensing")
        async for view in headrace.changes(number):
            if view.blocks[0].status == "queued" and "seen nothing yet" in (view.blocks[0].reason or ""):
                await headrace.cancel(number)
                break
        assert (await headrace.finished(number)).status == "cancelled"
        row = await headrace.database.fetchrow("SELECT * FROM headrace.attempt")
        assert (row["number"], row["outcome"]) == (1, "stopped")
        assert row["started_at"] < row["finished_at"]


async def test_workers_of_single_attempts_are_not_kept_waiting_for_blocks_that_cannot_use_them(
    root, database_url, tmp_path
):
    # Each block waits for the one beside it: were a worker kept from the one that could use it, they would wait for ever.
    source = (
        "import os, time\n@custom\ndef body(*args):\n"
        "    for number in range(4):\n"
        f"        try:\n            open({str(tmp_path)!r} + f'/in-{{number}}', 'x').close()\n            break\n"
        "        except FileExistsError:\n            continue\n"
        f"    while not os.path.exists({str(tmp_path)!r} + f'/in-{{number ^ 1}}'):\n        time.sleep(0.005)\n"
    )
    options = {"isolation": "block", "timeout": 60}
    write_pipeline(root, "alone", {f"b{n}": () for n in range(4)}, default=source, options=options)
    async with opened(root, database_url) as headrace:
        headrace.pool._limit = 2
        view = await run(headrace, "alone")
    assert view.status == "completed", view.reason


async def test_a_retry_keeps_what_was_completed_and_runs_the_rest_from_the_pinned_source(root, database_url, tmp_path):
    ledger, switch = tmp_path / "ledger", tmp_path / "switch"
    source = (
        f"import os\n@custom\ndef body(*args, **kwargs):\n    open({str(ledger)!r}, 'a').write(kwargs['block_uuid'])\n"
        f"    assert kwargs['block_uuid'] != 'b' or os.path.exists({str(switch)!r})\n    return 1\n"
    )
    folder = write_pipeline(root, "again", {"a": (), "b": ("a",), "c": ("b",)}, default=source)
    async with opened(root, database_url) as headrace:
        first = await run(headrace, "again")
        assert first.status == "failed"
        switch.touch()
        (folder / "c.py").write_text("@custom\ndef body(*args):\n    raise ValueError('newer source')\n")
        second = await headrace.finished(await headrace.retry(first.id))
        assert second.status == "completed", second.error
        assert ledger.read_text() == "abbc"
        third = await headrace.finished(await headrace.retry(second.id, from_block="b"))
        assert third.status == "completed"
        assert ledger.read_text() == "abbcbc"
        newer = await headrace.finished(await headrace.retry(second.id, from_block="c", latest=True))
        assert newer.blocks[2].error["message"] == "newer source"
        with pytest.raises(UnknownBlock):
            await headrace.retry(second.id, from_block="nowhere")


async def test_one_block_runs_alone_on_stored_outputs_or_with_all_above_it(root, database_url):
    write_pipeline(root, "part", {"a": (), "b": ("a",), "c": ("b",)},
                   default="@custom\ndef body(*args):\n    return sum(args) + 1\n")  # fmt: skip
    async with opened(root, database_url) as headrace:
        with pytest.raises(NoStoredOutput, match="--upstream"):
            await headrace.create_run("part", block="b")
        above = await run(headrace, "part", block="b", with_upstream=True)
        assert statuses(above) == {"a": "completed", "b": "completed"}
        alone = await run(headrace, "part", block="b")
        assert alone.blocks[0].reason == f"kept from run {above.id}"
        assert await value(headrace, alone, "b") == 2


async def test_a_retry_runs_blocks_again_whose_outputs_were_removed(root, database_url):
    """Else those below would get nothing for an input."""
    source = "@custom\ndef body(*args):\n    assert args == (1,)\n    assert {ok}\n    return 2\n"
    folder = write_pipeline(root, "aged", {"a": (), "b": ("a",)}, {"b": source.format(ok=False)})
    async with opened(root, database_url) as headrace:
        first = await run(headrace, "aged")
        assert statuses(first) == {"a": "completed", "b": "failed"}
        (folder / "b.py").write_text(source.format(ok=True))
        assert await drop_old_outputs(headrace.database, headrace.project_id, None, [], 0, 10) == 1
        with pytest.raises(NoStoredOutput, match="needs the output of a, which has never completed or was removed"):
            await headrace.create_run("aged", block="b")
        again = await headrace.finished(await headrace.retry(first.id, latest=True))
        assert statuses(again) == {"a": "completed", "b": "completed"}, again.error
        assert again.blocks[0].attempt == 1
        third = await headrace.finished(await headrace.retry(again.id, from_block="b"))
        assert (third.status, third.blocks[0].attempt) == ("completed", 0)


async def test_outputs_that_are_removed_while_a_retry_is_made_are_told_and_not_missed(root, database_url):
    write_pipeline(root, "aged", {"a": (), "b": ("a",)}, {"b": "@custom\ndef body(*args):\n    return args[0]\n"})
    async with opened(root, database_url) as headrace:
        first = await run(headrace, "aged")
        database = headrace.database
        async with database.transaction() as connection:
            await connection.execute(QUERIES["drop_old_outputs"], headrace.project_id, None, [], 0.0, 10)
            retrying = asyncio.create_task(headrace.retry(first.id, from_block="b"))
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            while not await database.fetchval(waits):
                await asyncio.sleep(0.01)
        with pytest.raises(OutputsRemoved, match="of a, were removed just now"):
            await retrying
        assert await database.fetchval("SELECT count(*) FROM headrace.run") == 1


async def test_asking_for_what_is_not_there_is_told_by_name(root, database_url):
    write_pipeline(root, "one", {"a": ()})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "one")
        with pytest.raises(UnknownRun, match="999"):
            await headrace.show(999)
        with pytest.raises(UnknownBlock, match="nowhere"):
            await headrace.output_parts(view.id, "nowhere")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "a\0b", {"deep": ["\ud800"]}, object()],
    ids=["nan", "infinity", "nul", "surrogate", "object"],
)
async def test_a_variable_that_cannot_be_kept_is_told_by_name(root, database_url, value):
    write_pipeline(root, "one", {"a": ()})
    async with opened(root, database_url) as headrace:
        with pytest.raises(UnusableVariable, match="Variable odd"):
            await headrace.create_run("one", variables={"good": 1, "odd": value})
        assert await headrace.database.fetchval("SELECT count(*) FROM headrace.run") == 0


async def test_a_run_that_goes_on_cannot_be_retried(root, database_url):
    write_pipeline(root, "long", {"a": ()}, {"a": "import time\n@custom\ndef body():\n    time.sleep(30)\n"})
    async with opened(root, database_url) as headrace:
        number = await headrace.create_run("long")
        with pytest.raises(StillRunning):
            await headrace.retry(number)
        await headrace.cancel(number)
        await headrace.finished(number)


@pytest.mark.parametrize("isolation", ["run", "block"])
async def test_isolation_gives_each_run_or_attempt_a_process_of_its_own(root, database_url, isolation):
    write_pipeline(root, "alone", {"a": (), "b": ("a",)}, options={"isolation": isolation},
                   default="import os\n@custom\ndef body(*args):\n    return {'pid': os.getpid()}\n")  # fmt: skip
    async with opened(root, database_url) as headrace:
        first, second = await run(headrace, "alone"), await run(headrace, "alone")
        pids = [(await value(headrace, view, name))["pid"] for view in (first, second) for name in "ab"]
    assert (pids[0] == pids[1]) is (isolation == "run")
    assert pids[0] not in pids[2:]


async def test_limits_per_run_hold(root, database_url):
    source = "import time\n@custom\ndef body(*args):\n    time.sleep(0.1)\n"
    write_pipeline(root, "limited", {f"b{n}": () for n in range(8)}, default=source,
                   options={"concurrency_config": {"block_run_limit": 2}})  # fmt: skip
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "limited")
    moments = [(b.started_at, 1) for b in view.blocks] + [(b.finished_at, -1) for b in view.blocks]
    running, most = 0, 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert most == 2


async def test_lines_of_a_block_are_kept_in_order_with_their_stream(root, database_url):
    source = (
        "import logging, os, sys\n@custom\ndef body(*args, **kwargs):\n    print('one')\n"
        "    print('two', file=sys.stderr)\n    logging.getLogger('mine').warning('three')\n    os.system('echo four')\n"
    )
    write_pipeline(root, "talk", {"a": ()}, {"a": source})
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "talk")
        lines = [line async for line in headrace.logs(view.id)]
    assert {(line.stream, line.text) for line in lines} >= {("stdout", "one"), ("stderr", "two"), ("stdout", "four")}
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    assert any("three" in line.text and line.level == "WARNING" for line in lines)


async def test_frames_pass_from_block_to_block_with_index_and_types(root, database_url):
    write_pipeline(
        root,
        "frames",
        {"a": (), "b": ("a",), "c": ("b",)},
        {
            "a": "import pandas as pd\n@custom\ndef body():\n"
            "    return pd.DataFrame({'n': pd.array([1, None, 3], dtype='Int64'), 'x': ['u', 'v', 'w']})\n",
            "b": "@custom\ndef body(df):\n    return df[df['n'].notna()]\n",
            "c": "@custom\ndef body(df):\n    return {'index': list(df.index), 'type': str(df['n'].dtype)}\n",
        },
    )
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "frames")
        assert view.status == "completed", view.error
        assert await value(headrace, view, "c") == {"index": [0, 2], "type": "Int64"}
        assert {block.uuid: block.rows for block in view.blocks}["b"] == 2


async def test_a_300_mb_output_is_streamed_and_never_whole_in_the_service(root, database_url):
    write_pipeline(
        root,
        "large",
        {"a": (), "b": ("a",)},
        {
            "a": "import os\n@custom\ndef body():\n    return {'blob': os.urandom(300_000_000)}\n",
            "b": "@custom\ndef body(value):\n    return len(value['blob'])\n",
        },
    )
    async with opened(root, database_url) as headrace:
        before = resident()
        number = await headrace.create_run("large")
        most = before
        async for view in headrace.changes(number):
            most = max(most, resident())
        assert view.status == "completed", view.error
        assert await value(headrace, view, "b") == 300_000_000
        parts = await headrace.database.fetchval("SELECT count(*) FROM headrace.blob_part")
    assert parts >= 300 // 8
    assert most - before < 100 << 20


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
