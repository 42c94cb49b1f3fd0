"""What one call may pour out: lines while the log is full, long records and messages, very many outputs."""

from __future__ import annotations

import asyncio

from headrace.worker.protocol import Input, OutputRef

from tests.support.workers import Runs, call_of, make_pool, value_of


class Full:
    """A backlog that is full until it is told otherwise."""

    def __init__(self, most: int) -> None:
        self.lines: list[str] = []
        self.most = most
        self.go_on = None
        self.held = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return len(self.lines) >= self.most

    def when_room(self, go_on) -> None:
        self.go_on = go_on
        self.held.set()


async def test_a_block_that_prints_into_a_full_backlog_waits_and_goes_on_later(tmp_path):
    source = """
        import logging, time
        @data_loader
        def f():
            began = time.monotonic()
            for i in range(20_000): print("x" * 100)
            logging.getLogger().info("logged")
            return time.monotonic() - began
        """
    async with make_pool(spares=1) as pool:
        run, backlog = Runs(pool, tmp_path), Full(most=1000)
        worker = await run.worker()
        calling = asyncio.create_task(
            worker.call(call_of(tmp_path, source), on_log=lambda line: backlog.lines.append(line.text), backlog=backlog)
        )
        async with asyncio.timeout(20):
            await backlog.held.wait()
        held = len(backlog.lines)
        await asyncio.sleep(0.2)
        assert not calling.done()
        assert len(backlog.lines) == held < 15_000, "nothing more is read"
        backlog.most = 10**9
        backlog.go_on()
        async with asyncio.timeout(20):
            result = await calling
        assert result.failure is None
        assert len(backlog.lines) == 20_001


async def test_a_block_that_waits_to_print_can_be_ended(tmp_path):
    async with make_pool(spares=1) as pool:
        run, backlog = Runs(pool, tmp_path), Full(most=10)
        worker = await run.worker()
        source = "def f():\n    while True: print('x' * 1000)"
        async with asyncio.timeout(20):
            result = await worker.call(
                call_of(tmp_path, source),
                on_log=lambda line: backlog.lines.append(line.text),
                backlog=backlog,
                timeout=0.5,
                grace=1,
            )
        assert result.failure.kind == "timeout"


async def test_a_worker_that_says_more_than_a_message_may_hold_is_ended(tmp_path):
    source = """
        import os, socket, stat
        @data_loader
        def f():
            for fd in range(3, 64):
                try:
                    if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, b"\\xff\\xff\\xff\\xff" + b"x" * 1000)
                except OSError: pass
            import time; time.sleep(60)
        """
    async with make_pool(spares=1) as pool:
        run = Runs(pool, tmp_path)
        async with asyncio.timeout(20):
            result = await run(source)
        assert result.failure.kind == "died"


async def test_a_record_of_logging_is_cut_and_odd_levels_do_no_harm(tmp_path):
    source = """
        import logging
        @data_loader
        def f():
            logging.addLevelName(35, 7)
            logging.getLogger("a\\ud800").log(35, "x" * 1_000_000)
        """
    async with make_pool(spares=1) as pool:
        run = Runs(pool, tmp_path)
        result = await run(source)
        assert result.failure is None
        assert run.lines[0].level == "7"
        assert len(run.lines[0].text) < 70_000
        assert run.lines[0].text.endswith("more characters)")


async def test_many_outputs_go_to_files_beyond_what_an_answer_holds(tmp_path):
    source = "def f(): return [{'n': i, 'text': 'x' * 60_000} for i in range(40)]"
    async with make_pool(spares=1) as pool:
        result = await Runs(pool, tmp_path)(source)
        assert result.failure is None, result.failure
        assert len(result.outputs) == 40
        inline = sum(len(output.inline or b"") for output in result.outputs)
        assert 1 << 20 <= inline < 2 << 20
        assert all(output.inline or output.path for output in result.outputs)


async def test_a_long_list_is_one_output_and_reads_the_same_below(tmp_path):
    async with make_pool(spares=1) as pool:
        run = Runs(pool, tmp_path)
        result = await run("def f(): return list(range(300_000))")
        assert result.failure is None, result.failure
        (output,) = result.outputs
        ref = OutputRef(output.codec, output.inline, output.path)
        below = await run("def f(given): return [len(given), given[-1]]", inputs=(Input("a", (ref,)),))
        assert [value_of(below, 0), value_of(below, 1)] == [300_000, 299_999]
