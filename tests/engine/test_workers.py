"""The worker pool with real processes: calls, deaths, logs, limits, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from headrace.engine import workers as workers_module
from headrace.engine.workers import LogCaps, WorkerKey, WorkerPool, worker_environ
from headrace.worker.protocol import Input, Outcome, OutputRef, Result

from tests.support.workers import ROOT, Runs, call_of, is_alive, make_pool, value_of, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    async with make_pool(spares=1) as pool:
        yield pool


@pytest.fixture
def run(pool: WorkerPool, tmp_path: Path) -> Runs:
    return Runs(pool, tmp_path)


async def test_a_block_gets_inputs_and_gives_outputs(run: Runs) -> None:
    first = await run("def f(): return 41")
    assert first.outcome is Outcome.COMPLETED, first.failure
    ref = OutputRef(first.outputs[0].codec, first.outputs[0].inline)
    second = await run("def f(x): return x + 1", inputs=(Input("a", (ref,)),))
    assert value_of(second) == 42


async def test_a_prepared_call_runs_only_once_it_is_started(run: Runs) -> None:
    worker = await run.worker()
    source = "import pathlib\n@data_loader\ndef f():\n    pathlib.Path({!r}).touch()\n    return {!r}"
    worker.prepare(call_of(run.project, source.format("first", 1)))
    worker.prepare(call_of(run.project, source.format("second", 2)))
    result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    worker.start(on_log=run.lines.append, on_result=result.set_result)
    assert value_of(await result) == 2
    assert sorted(path.name for path in run.project.iterdir()) == ["second"]
    run.pool.release(worker)


async def test_a_worker_that_dies_before_its_call_is_started_fails_it(run: Runs) -> None:
    worker = await run.worker()
    worker.prepare(call_of(run.project, "def f(): return 1"))
    os.kill(worker.pid, signal.SIGKILL)
    await worker.gone
    results: list[Result] = []
    worker.start(on_log=run.lines.append, on_result=results.append)
    assert [result.failure.kind for result in results if result.failure] == ["died"]


async def test_a_worker_that_speaks_nonsense_is_ended(run: Runs) -> None:
    result = await run("""
        import os, stat
        @data_loader
        def f():
            for fd in map(int, os.listdir("/proc/self/fd")):
                try:
                    if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, b"\\0\\0\\0\\2no")
                except OSError: pass
        """)  # fmt: skip
    assert result.failure is not None
    assert result.failure.kind == "died"
    assert value_of(await run("def f(): return 1")) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import ctypes; ctypes.string_at(0)", "by signal 11"),
        ("import os; os._exit(139)", "with exit code 139"),
        ("import os; os.kill(os.getpid(), 9)", "by signal 9"),
    ],
)
async def test_a_worker_that_dies_fails_its_call_alone(run: Runs, body: str, told: str) -> None:
    result = await run(f"def f():\n    print('before')\n    {body}")
    assert result.outcome is Outcome.FAILED
    assert result.failure is not None
    assert result.failure.kind == "died"
    assert told in result.failure.message
    assert run.texts[0] == "before"
    assert value_of(await run("def f(): return 1")) == 1


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        ("import sys; sys.exit(3)", "raised", "SystemExit"),
        ("raise KeyboardInterrupt", "raised", "KeyboardInterrupt"),
        ("f()", "raised", "RecursionError"),
        ("raise ValueError('\\ud800\\0')", "raised", "ValueError"),
        ("return open('/dev/null')", "output", "UnstorableOutput"),
    ],
)
async def test_what_a_block_raises_fails_the_call_and_the_worker_lives_on(
    run: Runs, body: str, kind: str, error: str
) -> None:
    worker = await run.worker()
    result = await worker.call(call_of(run.project, f"def f():\n    {body}"), on_log=run.lines.append)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.type) == (kind, error)
    again = await worker.call(call_of(run.project, "def f(): return 1"), on_log=run.lines.append)
    assert again.outcome is Outcome.COMPLETED


async def test_a_call_over_its_memory_limit_fails_and_the_next_has_none(run: Runs) -> None:
    source = "def f():\n    x = bytearray(600 << 20)\n    return len(x)"
    result = await run(source, memory_limit=200 << 20)
    assert result.failure is not None
    assert result.failure.kind == "memory"
    assert str(200 << 20) in result.failure.message
    assert value_of(await run(source)) == 600 << 20


async def test_an_endless_loop_ends_at_its_time_limit(run: Runs) -> None:
    result = await run("def f():\n    while True: pass", timeout=0.3, grace=5)
    assert result.failure is not None
    assert result.failure.kind == "timeout"
    assert "0.3 s" in result.failure.message


async def test_a_blocks_finally_runs_at_its_time_limit(run: Runs) -> None:
    await run("""
        import time
        @data_loader
        def f():
            try: time.sleep(60)
            finally: print("cleaned up")
        """, timeout=0.3)  # fmt: skip
    assert run.texts == ["cleaned up"]


STUBBORN = """
import os, signal, subprocess, time
@data_loader
def f():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    kids = [subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]) for _ in range(3)]
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open("daemon", "w").write(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    os.wait()
    while not (os.path.exists("daemon") and open("daemon").read()): time.sleep(0.01)
    print(*[k.pid for k in kids], open("daemon").read(), flush=True)
    while True:
        time.sleep(1)
"""


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_stubborn_block_and_all_it_started_are_gone_after_the_grace(run: Runs, how: str) -> None:
    worker = await run.worker()
    printed = asyncio.Event()
    calling = asyncio.create_task(
        worker.call(
            call_of(run.project, STUBBORN),
            on_log=lambda line: (run.lines.append(line), printed.set())[1],
            timeout=1.5 if how == "timeout" else None,
            grace=0.5,
        )
    )
    async with asyncio.timeout(5):
        await printed.wait()
    pids = [int(word) for word in run.texts[0].split()] + [worker.pid]
    assert len(pids) == 5
    if how == "cancel":
        calling.cancel()
        async with asyncio.timeout(1.5):
            with pytest.raises(asyncio.CancelledError):
                await calling
    else:
        async with asyncio.timeout(3.5):
            await calling
            await worker.gone
    assert [pid for pid in pids if is_alive(pid)] == []


async def test_children_left_by_a_finished_call_go_with_its_worker(run: Runs) -> None:
    result = await run("""
        import subprocess
        @data_loader
        def f(): return subprocess.Popen(["sleep", "60"]).pid
        """)  # fmt: skip
    pid = value_of(result)
    assert await asyncio.to_thread(wait_until, lambda: not is_alive(pid), 5)
    assert value_of(await run("def f(): return 1")) == 1


HOST = """
import asyncio, sys
from pathlib import Path
from tests.support.workers import *
async def main():
    async with make_pool(spares=2) as pool:
        run = Runs(pool, Path(sys.argv[1]))
        worker = await run.worker()
        def log(line): print(pool.template_pid, *pool.pids, line.text, flush=True)
        await worker.call(call_of(run.project, open(sys.argv[2]).read()), on_log=log)
asyncio.run(main())
"""


async def test_kill_9_of_the_service_leaves_no_process(tmp_path: Path) -> None:
    source = tmp_path / "stubborn.txt"
    source.write_text(STUBBORN)
    with subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path), str(source)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as host:
        assert host.stdout is not None
        pids = [int(word) for word in (await asyncio.to_thread(host.stdout.readline)).split()]
        assert len(pids) >= 7
        assert all(is_alive(pid) for pid in pids)
        host.kill()
    assert await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, pids)), 5)


async def test_a_dead_template_fails_calls_under_way_and_is_started_again(run: Runs) -> None:
    worker = await run.worker()
    calling = asyncio.create_task(
        worker.call(call_of(run.project, "def f():\n    import time; time.sleep(60)"), on_log=run.lines.append)
    )
    await asyncio.sleep(0)
    os.kill(run.pool.template_pid, signal.SIGKILL)
    result = await asyncio.wait_for(calling, 5)
    assert result.failure is not None
    assert result.failure.kind == "died"
    assert "by signal 9" in result.failure.message
    run.pool.release(worker)
    assert value_of(await asyncio.wait_for(run("def f(): return 7"), 60)) == 7


async def test_every_kind_of_output_is_a_numbered_line_of_its_call(run: Runs) -> None:
    await run("""
        import logging, os, sys, warnings
        @data_loader
        def f():
            print("out")
            logging.getLogger("mine").warning("logged %d", 1)
            os.system("echo from a program")
            warnings.warn("careful")
            print("no \\0 end", end="")
        """)  # fmt: skip
    assert [line.seq for line in run.lines] == list(range(1, len(run.lines) + 1))
    assert {"out", "logged 1", "from a program", "no \ufffd end"} <= set(run.texts)
    assert [line.level for line in run.lines if line.text == "logged 1"] == ["WARNING"]
    assert any("careful" in text for text in run.texts)
    await run("def f(): print('next')")
    assert [(line.seq, line.text) for line in run.lines] == [(1, "next")]


async def test_lines_before_a_kill_are_kept_without_a_gap(run: Runs) -> None:
    await run("""
        import os
        @data_loader
        def f():
            for i in range(100_000): print(i)
            os.kill(os.getpid(), 9)
        """)  # fmt: skip
    assert run.texts == [str(i) for i in range(100_000)]
    assert [line.seq for line in run.lines] == list(range(1, 100_001))


async def test_a_flood_is_cut_and_says_how_much_is_missing(tmp_path: Path) -> None:
    async with make_pool(spares=1, caps=LogCaps(lines=50)) as pool:
        run = Runs(pool, tmp_path)
        result = await run("def f():\n    for i in range(10_000): print(i)")
    assert result.outcome is Outcome.COMPLETED
    assert run.texts[:50] == [str(i) for i in range(50)]
    assert run.texts[50].startswith("9950 more lines")
    assert len(run.lines) == 51


async def test_a_long_line_is_cut_between_characters(run: Runs) -> None:
    await run("def f(): print('x' + 'é' * 50_000)")
    assert "".join(run.texts) == "x" + "é" * 50_000
    assert max(len(text.encode()) for text in run.texts) <= 65536


async def test_descriptors_do_not_grow_over_200_calls(run: Runs) -> None:
    source = "def f():\n    import os; return len(os.listdir('/proc/self/fd'))"
    worker = await run.worker()
    counts = []
    for _ in range(200):
        result = await worker.call(call_of(run.project, source), on_log=run.lines.append)
        counts.append((value_of(result), len(os.listdir("/proc/self/fd"))))
    run.pool.release(worker)
    assert counts[-1] == counts[20]


async def test_an_edited_module_of_the_project_is_imported_again(run: Runs) -> None:
    module = run.project / "rates.py"
    module.write_text("RATE = 1\n")
    worker = await run.worker()
    seen = []
    for rate in (1, 2):
        module.write_text(f"RATE = {rate}\n")
        result = await worker.call(
            call_of(run.project, "import rates\n@data_loader\ndef f(): return rates.RATE"), on_log=print
        )
        seen.append(value_of(result))
        os.utime(module, ns=(0, rate))
    assert seen == [1, 2]


async def test_a_module_edited_after_its_import_by_the_call_that_imported_it_is_imported_again(run: Runs) -> None:
    module = run.project / "prices.py"
    module.write_text("PRICE = 1\n")
    os.utime(module, (0, 0))
    source = """
        import pathlib, prices
        @data_loader
        def f():
            pathlib.Path(prices.__file__).write_text("PRICE = 2\\n")
            return prices.PRICE
    """
    worker = await run.worker()
    results = [await worker.call(call_of(run.project, source), on_log=print) for _ in range(2)]
    run.pool.release(worker)
    assert [value_of(result) for result in results] == [1, 2]


async def ended_after(pool: WorkerPool, run: Runs, calls: int, source: str = "def f(): return 1") -> list[bool]:
    """Whether the worker of each call was let go with it."""
    told = []
    for _ in range(calls):
        worker = await run.worker()
        await worker.call(call_of(run.project, source), on_log=print)
        pool.release(worker)
        told.append(not worker.is_usable)
    return told


async def test_a_worker_is_recycled_after_so_many_calls(tmp_path: Path) -> None:
    async with make_pool(spares=1, recycle_after=3) as pool:
        assert await ended_after(pool, Runs(pool, tmp_path), 6) == [False, False, True] * 2


KEEP = "import builtins\n@data_loader\ndef f():\n    builtins.kept = {}\n    return 1"


async def test_a_worker_is_recycled_once_it_has_grown_be_it_in_its_first_call(tmp_path: Path) -> None:
    async with make_pool(spares=1, recycle_growth=64 << 20) as pool:
        run = Runs(pool, tmp_path)
        assert await ended_after(pool, run, 1, KEEP.format("b'x' * (100 << 20)")) == [True]
        assert await ended_after(pool, run, 3, "def f(): return len(b'x' * (100 << 20))") == [False] * 3
        assert await ended_after(pool, run, 1, KEEP.format("b'x' * (100 << 20)")) == [True]


async def test_a_worker_that_nobody_needs_for_long_is_let_go_and_others_stay(tmp_path: Path) -> None:
    async with make_pool(spares=1, idle_for=0.2) as pool:
        run = Runs(pool, tmp_path)
        resting, used = await run.worker(), await run.worker()
        pool.release(resting)
        async with asyncio.timeout(20):
            await resting.gone
        assert not used.gone.done()
        pool.release(used)
        assert used.is_usable
        async with asyncio.timeout(20):
            await used.gone
        assert (await run("def f(): return 1")).outcome is Outcome.COMPLETED


async def test_each_call_has_a_fresh_namespace(run: Runs) -> None:
    await run("left = 5\n@data_loader\ndef f(): return left")
    result = await run("@data_loader\ndef f(): return 'left' in globals()")
    assert value_of(result) is False


async def test_the_environment_of_blocks_holds_nothing_of_ours(tmp_path: Path) -> None:
    dsn = "postgresql://u:secret@h/d"
    clean = worker_environ(
        {"HEADRACE_DATABASE_URL": dsn, "COPY": dsn, "HEADRACE_KEY": "k", "HEADRACE_SAMPLES_URL": "s", "OTHER": "o"}
    )
    assert {name: clean.get(name) for name in ("COPY", "HEADRACE_DATABASE_URL", "HEADRACE_KEY")} == dict.fromkeys(
        ("COPY", "HEADRACE_DATABASE_URL", "HEADRACE_KEY")
    )
    assert (clean["HEADRACE_SAMPLES_URL"], clean["OTHER"]) == ("s", "o")


async def test_300_mb_pass_by_file_and_not_through_the_service(run: Runs) -> None:
    def rss() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = rss()
    result = await run("def f():\n    import numpy; return numpy.arange(300_000_000 // 8)")
    assert result.outputs[0].path is not None
    assert result.outputs[0].bytes > 300_000_000
    assert rss() - before < 30 << 20
    Path(result.outputs[0].path).unlink()


async def test_async_functions_and_threads_of_arrow_work_in_a_worker(run: Runs) -> None:
    result = await run("""
        import asyncio, pandas as pd
        @data_loader
        async def f():
            await asyncio.sleep(0)
            return pd.DataFrame({c: range(300_000) for c in "abc"})
        """)  # fmt: skip
    assert result.outputs[0].rows == 300_000
    ref = OutputRef(result.outputs[0].codec, path=result.outputs[0].path)
    assert value_of(await run("def f(df): return int(df.c.sum())", inputs=(Input("a", (ref,)),))) == sum(range(300_000))


async def test_a_worker_of_one_attempt_ends_when_released(run: Runs) -> None:
    run.key = WorkerKey(str(run.project), "v1", "attempt-1", once=True)
    pid = value_of(await run("def f():\n    import os; return os.getpid()"))
    assert await asyncio.to_thread(wait_until, lambda: not is_alive(pid), 5)


async def test_workers_of_a_run_end_with_its_token_and_are_shared_before(run: Runs) -> None:
    run.key = WorkerKey(str(run.project), "v1", "run-1")
    source = "def f():\n    import os; return os.getpid()"
    pid = value_of(await run(source))
    assert value_of(await run(source)) == pid
    run.pool.retire_key("run-1")
    assert await asyncio.to_thread(wait_until, lambda: not is_alive(pid), 5)


async def test_waiters_are_served_in_their_order_within_the_limit(tmp_path: Path) -> None:
    async with make_pool(spares=1, limit=1) as pool:
        first = await pool.acquire(WorkerKey("/", "a"))
        order: list[str] = []

        async def take(version: str) -> None:
            worker = await pool.acquire(WorkerKey("/", version))
            order.append(version)
            pool.release(worker)

        async with asyncio.TaskGroup() as group:
            for version in "bac":
                group.create_task(take(version))
            await asyncio.sleep(0)
            assert (order, pool.free) == ([], 0)
            pool.release(first)
        assert order == ["b", "a", "c"]
        assert pool.free == 1


async def test_waiters_hope_for_workers_that_come_free_soon_and_no_more_are_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_SHORT", "_PATIENCE", "_LONGEST_WAIT"):
        monkeypatch.setattr(workers_module, name, 60.0)
    async with make_pool(spares=1, limit=6) as pool:
        key = WorkerKey(str(tmp_path), "v1")
        pool.release(await pool.acquire(key))

        async def hold() -> None:
            worker = await pool.acquire(key)
            pids.add(worker.pid)
            await asyncio.sleep(0.05)
            pool.release(worker)

        pids: set[int] = set()
        await asyncio.gather(*(hold() for _ in range(12)))
        assert len(pids) <= 2


async def test_more_workers_are_forked_for_waiters_while_none_comes_free(tmp_path: Path) -> None:
    async with make_pool(spares=1, limit=6) as pool:
        key = WorkerKey(str(tmp_path), "v1")
        async with asyncio.timeout(60):
            workers = await asyncio.gather(*(pool.acquire(key) for _ in range(6)))
        assert len({worker.pid for worker in workers}) == 6


async def test_leaving_the_pool_ends_every_process(tmp_path: Path) -> None:
    async with make_pool(spares=2) as pool:
        pids = [*pool.pids, pool.template_pid]
        threads = os.listdir(f"/proc/{pool.template_pid}/task")
    assert len(threads) == 1
    assert [pid for pid in pids if is_alive(pid)] == []


async def test_forks_that_are_asked_for_at_once_are_all_answered(tmp_path: Path) -> None:
    async with make_pool(spares=0) as pool:
        key = WorkerKey(str(tmp_path), "sensors", apart=True)
        async with asyncio.timeout(10):
            workers = await asyncio.gather(*(pool.acquire_apart(key) for _ in range(8)))
        assert len({worker.pid for worker in workers}) == 8
