"""One worker as the service sees it: a call goes in, log lines and one result come out, its end is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.engine.worker_logs import LineCapture, LogCaps, LogLine
from headrace.engine.worker_template import Forked
from headrace.worker.protocol import Answer, Call, Failure, Outcome, Result, encode, result_from_json

_READ = 262_144
_PIPE_READ = 65_536
_TURNS = 8
"""Reads in one turn of the event loop: more than a pipe holds, and a flood still lets other work in."""

Answers = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Answers a question of that name with JSON values; what it raises of ours goes to the code that asked."""


class NoAnswer(HeadraceError):
    """Nobody answers a question of this name here."""

    code = "no-answer"


async def answer_nothing(question: str, content: Mapping[str, Any]) -> Any:
    """For calls whose code has nothing to ask."""
    raise NoAnswer(f"The service has no answer for {question!r} here.")


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """What a worker is bound to: calls with another key go to another worker."""

    project: str
    version: str
    """Hash of the pipeline's pinned sources."""
    isolation: str = ""
    """A run's or attempt's token when it wants workers of its own; empty for workers shared by runs."""
    once: bool = False
    """Whether the worker ends when it is released (isolation by block)."""
    apart: bool = False
    """Whether the worker counts for no limit: for sensors, which must not wait for blocks."""


class Worker:
    """One worker process. It runs one call at a time."""

    def __init__(
        self, forked: Forked, kill: Callable[[int, int], None], on_end: Callable[[Worker], None], caps: LogCaps
    ) -> None:
        self.pid = forked.pid
        self.key: WorkerKey | None = None
        self.calls = 0
        self.is_retiring = False
        self.first_rss = 0
        self.last_rss = 0
        self._kill = kill
        self._on_end = on_end
        self._caps = caps
        self._socket = forked.socket
        self._pipes = {"stdout": forked.stdout, "stderr": forked.stderr}
        self._received = bytearray()
        self._unsent = b""
        self._capture: LineCapture | None = None
        self._answers: Answers = answer_nothing
        self._replies: set[asyncio.Task[None]] = set()
        self._call: int | None = None
        self._answer: asyncio.Future[Result] | None = None
        self._timed_out: float | None = None
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[str] = self._loop.create_future()
        self._loop.add_reader(self._socket, self._read)
        for name, fd in self._pipes.items():
            self._loop.add_reader(fd, self._drain, name)

    @property
    def is_usable(self) -> bool:
        """Whether it may get another call."""
        return not self.is_retiring and not self.gone.done()

    async def call(
        self,
        call: Call,
        *,
        on_log: Callable[[LogLine], None],
        timeout: float | None = None,  # noqa: ASYNC109 - the block's own limit, which ends a process, not a task
        grace: float = 5.0,
        answers: Answers = answer_nothing,
    ) -> Result:
        """Run one call to its end. A block's fault, its time limit and the worker's death come back as a Result.

        `timeout` and `grace` are seconds. `answers` answers what the block's code asks. When the awaiting task is
        cancelled, the worker's whole process group is ended (TERM, `grace`, KILL), and the cancellation goes on once
        nothing of it is left. So it is with what an answer raises that is no error of ours.
        """
        if self.gone.done():
            return self._died(call.id, self.gone.result())
        self._answers = answers
        self._begin(call, on_log)
        timer = None if timeout is None else self._loop.call_later(timeout, self._time_out, timeout, grace)
        answer = self._answer
        assert answer is not None  # noqa: S101 - set by _begin
        try:
            return await answer
        except BaseException:  # cancelled, or an answer failed for a reason that is none of the block's
            await self._end_before_raising(grace)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._answers = answer_nothing
            self._capture = self._answer = self._call = None

    def _begin(self, call: Call, on_log: Callable[[LogLine], None]) -> None:
        for name in self._pipes:
            self._drain(name)  # what threads of an earlier call printed since belongs to no call
        self.calls += 1
        self._call = call.id
        self._answer = self._loop.create_future()
        self._capture = LineCapture(on_log, self._caps)
        self._send(encode("call", call))

    async def _end_before_raising(self, grace: float) -> None:
        stopping = asyncio.ensure_future(self._stop_answering(grace))
        while not stopping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)

    async def _stop_answering(self, grace: float) -> None:
        for reply in self._replies:
            reply.cancel()
        await self.stop(grace)
        await asyncio.gather(*self._replies, return_exceptions=True)

    async def stop(self, grace: float = 5.0) -> None:
        """End the worker and everything it started: TERM, `grace` seconds, KILL. Returns when nothing is left."""
        self.is_retiring = True
        if self.gone.done():
            return
        self._kill(self.pid, signal.SIGTERM)
        timer = self._loop.call_later(grace, self._kill, self.pid, signal.SIGKILL)
        try:
            await asyncio.shield(self.gone)
        finally:
            timer.cancel()

    def _time_out(self, limit: float, grace: float) -> None:
        self._timed_out = limit
        self.is_retiring = True
        self._kill(self.pid, signal.SIGTERM)
        timer = self._loop.call_later(grace, self._kill, self.pid, signal.SIGKILL)
        self.gone.add_done_callback(lambda _: timer.cancel())

    def ended(self, status: int) -> None:
        """Hear from the template that the process and all it started are gone; `status` as Popen.returncode."""
        if self.gone.done():
            return
        self._read(sys.maxsize)
        self._drop_descriptors()
        how = _how_it_ended(status)
        self.gone.set_result(how)
        if self._call is not None:
            self._finish(self._died(self._call, how))
        self._on_end(self)

    def _drop_descriptors(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for name, fd in self._pipes.items():
            self._drain(name, sys.maxsize)
            self._loop.remove_reader(fd)
            os.close(fd)
        self._pipes = {}
        self._socket.close()

    def abandon(self) -> None:
        """Let go of a worker whose template is being stopped."""
        self.ended(-int(signal.SIGKILL))

    def _read(self, turns: int = _TURNS) -> None:
        """Take what the worker has sent."""
        for _ in range(turns):
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._socket)
                self.is_retiring = True
                self._kill(self.pid, signal.SIGKILL)  # it closed its socket: no call can reach it any more
                return
            self._received += data
            self._take_messages()
            if len(data) < _READ:
                return

    def _take_messages(self) -> None:
        buffer = self._received
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[:4], "big")
            if len(buffer) < end:
                return
            message = json.loads(bytes(buffer[4:end]))
            del buffer[:end]
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        operation = message["op"]
        if operation == "retire":
            self.is_retiring = True
            return
        for name in self._pipes:
            self._drain(name)  # what was printed before this message was written lies in the pipes by now
        if operation == "result":
            self._take_result(message)
        elif operation == "ask":
            self._take_question(message)
        elif operation == "log" and self._capture is not None and message["call"] == self._call:
            self._capture.record(message["level"], message["message"])

    def _take_question(self, message: dict[str, Any]) -> None:
        if message["call"] != self._call:
            return
        reply = self._loop.create_task(self._reply(message))
        self._replies.add(reply)
        reply.add_done_callback(self._replied)

    async def _reply(self, question: dict[str, Any]) -> None:
        call, number = question["call"], question["number"]
        try:
            answer = Answer(call, number, await self._answers(question["name"], question["content"]))
        except HeadraceError as error:
            answer = Answer(call, number, error=error.message, remedy=error.remedy, code=error.code)
        self._send(encode("answer", answer))

    def _replied(self, reply: asyncio.Task[None]) -> None:
        self._replies.discard(reply)
        error = None if reply.cancelled() else reply.exception()
        if error is not None and self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _take_result(self, message: dict[str, Any]) -> None:
        if message["call"] != self._call or self._timed_out is not None:
            return
        result = result_from_json(message)
        self.last_rss = result.max_rss
        self.first_rss = self.first_rss or result.max_rss
        self._finish(result)

    def _finish(self, result: Result) -> None:
        if self._capture is not None:
            self._capture.finish()
            self._capture = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(result)

    def _drain(self, name: str, turns: int = _TURNS) -> None:
        fd = self._pipes[name]
        for _ in range(turns):
            try:
                data = os.read(fd, _PIPE_READ)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(fd)
                return
            if self._capture is not None:
                self._capture.feed(name, data)
            if len(data) < _PIPE_READ:
                return

    def _send(self, message: bytes) -> None:
        if self.gone.done():
            return
        if self._unsent:
            self._unsent += message
            return
        try:
            sent = self._socket.send(message)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is gone: `ended` answers the call
        if sent < len(message):
            self._unsent = message[sent:]
            self._loop.add_writer(self._socket, self._send_rest)

    def _send_rest(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._loop.remove_writer(self._socket)

    def _died(self, call: int, how: str) -> Result:
        if self._timed_out is not None:
            message = f"the block ran longer than its limit of {self._timed_out:g} s and was ended."
            return Result(call, Outcome.FAILED, failure=Failure("timeout", "TimeoutError", message, text=message))
        message = f"the worker ended {how} while it ran the block."
        return Result(call, Outcome.FAILED, failure=Failure("died", "WorkerDied", message, text=message))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"with exit code {status}"
    with contextlib.suppress(ValueError):
        return f"by signal {-status} ({signal.Signals(-status).name})"
    return f"by signal {-status}"
