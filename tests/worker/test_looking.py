"""Looks of sensors in real workers: what they deliver, when a generator goes on, how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from headrace.engine.worker_connection import Worker, WorkerKey
from headrace.engine.workers import LogLine, WorkerPool
from headrace.store.errors import DatabaseBusy
from headrace.worker.protocol import Call, CodeRef, Mode, Outcome, Result

from tests.support.workers import is_alive, make_pool


class Service:
    """The service's side of one look: keeps what is delivered and answers when it is told to."""

    def __init__(self, pool: WorkerPool, project: Path) -> None:
        self.pool = pool
        self.project = project
        self.begun: Mapping[str, Any] = {}
        self.beats = 0
        self.events: list[Any] = []
        self.cursors: list[Any] = []
        self.lines: list[LogLine] = []
        self.delivered = asyncio.Event()
        self.beaten = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.worker: Worker | None = None

    async def answers(self, question: str, content: Mapping[str, Any]) -> Any:
        if question == "begin":
            self.begun = content
        elif question == "beat":
            self.beats += 1
            self.beaten.set()
        else:
            self.events.extend(json.loads(text) for text in content.get("events", ()))
            if "cursor" in content:
                self.cursors.append(json.loads(content["cursor"]))
            self.delivered.set()
            await self.may_commit.wait()

    async def look(self, source: str, *, cursor: Any = None, **variables: Any) -> Result:
        call = Call(
            1, Mode.LOOK, str(self.project), "", "look", "sensor", "python",
            CodeRef("look", str(self.project / "look.py"), dedent(source)), variables=json.dumps(variables), cursor=cursor,
        )  # fmt: skip
        self.worker = await self.pool.acquire_apart(WorkerKey(str(self.project), "sensors", apart=True))
        try:
            return await self.worker.call(call, on_log=self.lines.append, answers=self.answers, grace=2.0)
        finally:
            self.pool.release(self.worker)

    @property
    def payloads(self) -> list[Any]:
        return [event["payload"] for event in self.events]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with make_pool(spares=0, limit=1) as pool:
        yield Service(pool, tmp_path)


async def test_a_polled_look_delivers_events_and_cursor_together(service: Service) -> None:
    result = await service.look(
        """
        from headrace import Event, sensor
        @sensor(interval=5, deadline=3)
        async def look(cursor, table, **kwargs):
            return [Event({"n": n, "table": table}, key=str(n)) for n in (cursor + 1, cursor + 2)], cursor + 2
        """,
        cursor=7,
        table="orders",
    )
    assert result.outcome is Outcome.COMPLETED
    assert service.begun == {"interval": 5.0, "deadline": 3.0, "stream": False}
    assert [(event["key"], event["payload"]["n"]) for event in service.events] == [("8", 8), ("9", 9)]
    assert service.payloads[0]["table"] == "orders"
    assert service.cursors == [9]


async def test_a_look_without_events_delivers_nothing(service: Service) -> None:
    result = await service.look("@sensor\ndef look():\n    return False\n")
    assert (result.outcome, service.events, service.delivered.is_set()) == (Outcome.COMPLETED, [], False)


@pytest.mark.parametrize("kind", ["", "async "])
async def test_a_generator_goes_on_only_once_its_yield_is_committed(service: Service, kind: str) -> None:
    service.may_commit.clear()
    acknowledged = service.project / "acknowledged"
    looking = asyncio.create_task(
        service.look(f"""
        import pathlib
        @sensor
        {kind}def look(cursor):
            yield {{"n": 1}}
            pathlib.Path({str(acknowledged)!r}).touch()
            yield [{{"n": 2}}, {{"n": 3}}], 3
        """)
    )
    await asyncio.wait_for(service.delivered.wait(), 5)
    assert not acknowledged.exists()
    service.may_commit.set()
    result = await looking
    assert result.outcome is Outcome.COMPLETED, result.failure
    assert service.payloads == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert service.cursors == [3]
    assert acknowledged.exists()


async def test_the_loop_of_an_async_generator_goes_on_while_its_events_wait_for_their_commit(service: Service) -> None:
    service.may_commit.clear()
    ticked = service.project / "ticked"
    looking = asyncio.create_task(
        service.look(f"""
        import asyncio, pathlib
        @sensor
        async def look():
            async def tick():
                await asyncio.sleep(0.05)
                pathlib.Path({str(ticked)!r}).touch()
            ticking = asyncio.create_task(tick())
            yield {{"n": 1}}
            await ticking
        """)
    )
    await asyncio.wait_for(service.delivered.wait(), 5)
    while not ticked.exists():
        await asyncio.sleep(0.01)
    service.may_commit.set()
    assert (await looking).outcome is Outcome.COMPLETED


async def test_an_async_generator_with_nothing_to_tell_beats(service: Service) -> None:
    looking = asyncio.create_task(
        service.look("import asyncio\n@sensor\nasync def look():\n    await asyncio.sleep(60)\n    yield 1\n")
    )
    await asyncio.wait_for(service.beaten.wait(), 10)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking


async def test_a_cancelled_stream_runs_its_finally_and_its_process_is_gone(service: Service) -> None:
    closed = service.project / "closed"
    looking = asyncio.create_task(
        service.look(f"""
        import asyncio, pathlib
        @sensor
        async def look():
            try:
                yield {{"n": 1}}
                await asyncio.sleep(60)
            finally:
                pathlib.Path({str(closed)!r}).touch()
        """)
    )
    await asyncio.wait_for(service.delivered.wait(), 5)
    assert service.worker is not None
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert closed.exists()
    assert not is_alive(service.worker.pid)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return {'at': object()}", "NotStorable"),
        ("return {'text': 'x' * (17 << 20)}", "DeliveryTooLarge"),
        ("raise ValueError('no')", "ValueError"),
    ],
)
async def test_what_cannot_be_told_fails_the_look(service: Service, body: str, code: str) -> None:
    result = await service.look(f"@sensor\ndef look():\n    {body}\n")
    assert result.failure is not None
    assert result.failure.type == code
    assert service.events == []


async def test_an_answer_that_is_refused_is_raised_in_the_code_that_asked(service: Service) -> None:
    async def refuse(question: str, content: Mapping[str, Any]) -> Any:
        raise DatabaseBusy("Too many.", remedy="Try later.")

    service.answers = refuse  # type: ignore[method-assign]
    result = await service.look("""
        from headrace.blocks.asking import AnswerRefused, ask
        try: ask("anything", a=1)
        except AnswerRefused as error: print(error.reason, error)
        @sensor
        def look(): return False
        """)
    assert service.lines[0].text == "database-busy Too many. Try later."
    assert result.failure is not None
    assert result.failure.type == "AnswerRefused"


async def test_an_answer_that_breaks_ends_the_worker_and_is_raised(service: Service) -> None:
    async def broken(question: str, content: Mapping[str, Any]) -> Any:
        raise ZeroDivisionError

    service.answers = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await service.look("@sensor\ndef look(): return False\n")
    assert service.worker is not None
    assert not is_alive(service.worker.pid)


async def test_a_worker_for_looks_waits_for_no_block_and_is_used_again(service: Service) -> None:
    key = WorkerKey(str(service.project), "v1")
    block = await service.pool.acquire(key)
    assert service.pool.free == 0
    source = "import os\n@sensor\ndef look(): return {'pid': os.getpid()}\n"
    await service.look(source)
    await service.look(source)
    assert len({payload["pid"] for payload in service.payloads}) == 1
    service.pool.release(block)


async def test_a_forked_child_of_a_sensor_cannot_ask(service: Service) -> None:
    result = await service.look("""
        import os, sys
        from headrace.blocks.asking import CannotAsk, ask
        @sensor
        def look():
            pid = os.fork()
            if pid == 0:
                try: ask("deliver", events=[])
                except CannotAsk: os._exit(7)
                os._exit(0)
            return {"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}
        """)
    assert result.outcome is Outcome.COMPLETED
    assert service.payloads == [{"status": 7}]


async def test_a_question_that_comes_while_its_worker_is_ended_is_answered_no_more(service: Service) -> None:
    asked: list[Mapping[str, Any]] = []

    async def never(question: str, content: Mapping[str, Any]) -> Any:
        asked.append(content)
        if question == "deliver":
            service.delivered.set()
            await asyncio.sleep(60)

    service.answers = never  # type: ignore[method-assign]
    looking = asyncio.create_task(
        service.look("""
        from headrace.blocks.asking import ask
        @sensor
        def look():
            try:
                yield {"n": 1}
            finally:
                ask("deliver", late=True)
        """)
    )
    await asyncio.wait_for(service.delivered.wait(), 5)
    async with asyncio.timeout(10):
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
    assert not any("late" in content for content in asked)
