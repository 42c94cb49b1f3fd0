"""Processes that hang are found out: a template in an import, in a fork or stopped, a worker in what it inherited."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headrace.engine.workers import WorkerKey, WorkerPool, WorkersUnavailable, worker_environ

from tests.support.workers import PRELOAD, Runs, is_alive, make_pool, value_of, wait_until

HANGS = """
import os, pathlib, time

def hang_while(flag):
    while (pathlib.Path(__file__).parent / flag).exists():
        time.sleep(0.05)

hang_while("import")
os.register_at_fork(before=lambda: hang_while("fork"), after_in_child=lambda: hang_while("child"))
"""


@pytest.fixture
def hanging(tmp_path: Path) -> Callable[..., WorkerPool]:
    """Makes a pool whose template and workers hang for as long as there is a file `import`, `fork` or `child`."""
    (tmp_path / "hangs.py").write_text(HANGS)
    environ = worker_environ(os.environ, {"PYTHONPATH": str(tmp_path)})

    def make(**options: Any) -> WorkerPool:
        return make_pool(**{"environ": environ, "preload": (*PRELOAD, "hangs"), "spares": 0, **options})

    return make


async def test_an_import_that_hangs_ends_the_start_of_the_template(hanging, tmp_path: Path) -> None:
    (tmp_path / "import").touch()
    pool = hanging(start_within=2)
    with pytest.raises(WorkersUnavailable, match="not ready within 2 s: one of its imports hangs"):
        async with pool:
            pass
    assert not is_alive(pool.template_pid)


async def test_a_template_that_ends_before_it_is_ready_is_told_and_not_tried_again(hanging, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import there_is_no_such_module")
    pool = hanging()
    with pytest.raises(WorkersUnavailable, match="ended before it was ready"):
        async with pool:
            pass
    assert len(asyncio.all_tasks()) == 1


async def test_a_template_that_hangs_in_a_fork_is_ended_and_replaced(hanging, tmp_path: Path, caplog) -> None:
    async with hanging(answer_within=3) as pool:
        before = pool.template_pid
        (tmp_path / "fork").touch()
        with pytest.raises(WorkersUnavailable, match="did not answer within 3 s and was ended"):
            await pool.acquire_apart(WorkerKey(str(tmp_path), "v1", apart=True))
        (tmp_path / "fork").unlink()
        assert "was asked for a fork and has not answered within 3 s" in caplog.text
        assert value_of(await asyncio.wait_for(Runs(pool, tmp_path)("def f(): return 7"), 60)) == 7
        assert pool.template_pid != before
        assert not is_alive(before)


async def test_a_child_that_is_stuck_in_its_fork_goes_with_a_template_that_hangs(hanging, tmp_path: Path) -> None:
    async with hanging(answer_within=3) as pool:
        (tmp_path / "child").touch()
        forking = asyncio.create_task(pool.acquire_apart(WorkerKey(str(tmp_path), "v1", apart=True)))
        stuck = await forking
        os.kill(pool.template_pid, signal.SIGSTOP)
        assert await asyncio.to_thread(wait_until, lambda: not is_alive(stuck.pid), 30)
        (tmp_path / "child").unlink()
        assert value_of(await asyncio.wait_for(Runs(pool, tmp_path)("def f(): return 7"), 60)) == 7


async def test_a_block_s_time_limit_holds_though_the_template_hangs(hanging, tmp_path: Path) -> None:
    async with hanging(answer_within=3) as pool:
        run = Runs(pool, tmp_path)
        assert value_of(await run("def f(): return 7")) == 7
        os.kill(pool.template_pid, signal.SIGSTOP)
        result = await asyncio.wait_for(run("def f():\n    while True: pass", timeout=0.2, grace=0.2), 30)
        assert result.failure is not None
        assert result.failure.kind == "timeout"
        assert value_of(await asyncio.wait_for(run("def f(): return 8"), 60)) == 8


async def test_a_worker_that_does_not_come_out_of_its_fork_fails_its_call_and_is_told(
    hanging, tmp_path: Path, caplog
) -> None:
    caplog.set_level(logging.ERROR)
    async with hanging(answer_within=3) as pool:
        (tmp_path / "child").touch()
        run = Runs(pool, tmp_path)
        result = await asyncio.wait_for(run("def f(): return 7"), 30)
        assert result.failure is not None
        assert "the worker did not come up" in result.failure.message
        assert "did not come up within 3 s" in caplog.text
        (tmp_path / "child").unlink()
        assert value_of(await asyncio.wait_for(run("def f(): return 8"), 60)) == 8
