"""One worker as the service sees it: a call goes in, log lines and one result come out, its end is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import msgspec

from headrace.domain.errors import HeadraceError
from headrace.engine.worker_logs import LineCapture, LogCaps, LogLine
from headrace.engine.worker_template import Forked
from headrace.worker.protocol import (
    Answer,
    Call,
    Failure,
    FromWorker,
    LogRecord,
    Outcome,
    Question,
    Ready,
    Result,
    Retire,
    Start,
    encode,
    to_service,
)

log = logging.getLogger(__name__)

_READ = 65_536
_PIPE_READ = 65_536
_START = encode(Start())
_TURNS = 8
"""Reads in one turn of the event loop: more than a pipe holds, and a flood still lets other work in."""

UP_SECONDS = 30.0
"""How long a worker may take from its fork until it reads; then it hangs in something that its fork left locked."""

_MOST_BYTES = 64 * 1024 * 1024
"""Bytes of one message of a worker; a longer one comes from code that writes where it must not."""

Answers = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Answers a question of that name with JSON values; what it raises of ours goes to the code that asked."""


class Backlog(Protocol):
    """Where lines go; while it is full, no more are read and the blocks that print them wait."""

    @property
    def is_full(self) -> bool: ...

    def when_room(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once there is room again."""
        ...


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
        self,
        forked: Forked,
        kill: Callable[[int, int], None],
        on_end: Callable[[Worker], None],
        caps: LogCaps,
        answers: Answers = answer_nothing,
        up_within: float = UP_SECONDS,
    ) -> None:
        self.pid = forked.pid
        self.key: WorkerKey | None = None
        self.calls = 0
        self.taken_at = 0.0
        """When it was taken from the pool last, by the event loop's time."""
        self.is_retiring = False
        self._is_ending = False
        self.grown = 0
        """Bytes of memory that its last call left it with beyond those it was forked with."""
        self.idle_since = 0.0
        """When it was given back last, by the event loop's time."""
        self._kill = kill
        self._on_end = on_end
        self._caps = caps
        self._socket = forked.socket
        self._pipes = {forked.stdout: "stdout", forked.stderr: "stderr"}
        self._printed = select.poll()
        self._received = bytearray()
        self._unsent = b""
        self._capture: LineCapture | None = None
        self._backlog: Backlog | None = None
        self._is_held = False
        self._usual_answers = answers
        self._answers = answers
        self._answers_more = True
        self._replies: set[asyncio.Task[None]] = set()
        self._awaited: asyncio.Future[Result] | None = None
        self._prepared = 0
        self._call: int | None = None
        self._on_result: Callable[[Result], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timed_out: float | None = None
        self._up_within = up_within
        self._is_up = False
        self._loop = asyncio.get_running_loop()
        self._coming_up = self._loop.call_later(up_within, self._give_up)
        self.gone: asyncio.Future[str] = self._loop.create_future()
        self._loop.add_reader(self._socket, self._read)
        for fd in self._pipes:
            self._printed.register(fd, select.POLLIN)
            self._loop.add_reader(fd, self._drain, fd)

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
        answers: Answers | None = None,
        backlog: Backlog | None = None,
    ) -> Result:
        """Run one call to its end, as `prepare` and `start` do.

        `answers` answers what the block's code asks, in the place of the pool's. When the awaiting task is cancelled,
        the worker's whole process group is ended (TERM, `grace`, KILL), and the cancellation goes on once nothing of it
        is left. So it is with what an answer raises that is no error of ours.
        """
        self._answers = answers or self._usual_answers
        awaited: asyncio.Future[Result] = self._loop.create_future()
        self._awaited = awaited
        self.prepare(call)
        self.start(on_log=on_log, on_result=self._arrived, timeout=timeout, grace=grace, backlog=backlog)
        try:
            return await awaited
        except BaseException:  # cancelled, or an answer failed for a reason that is none of the block's
            await self._end_before_raising(grace)
            raise
        finally:
            self._answers = self._usual_answers
            self._awaited = None

    def _arrived(self, result: Result) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(result)

    def prepare(self, call: Call) -> None:
        """Send a call that is to be started soon; until then nothing of the block's code runs."""
        self._drain_printed()  # what threads of an earlier call printed since belongs to no call
        self._prepared = call.id
        self._send(encode(call))

    def start(
        self,
        *,
        on_log: Callable[[LogLine], None],
        on_result: Callable[[Result], None],
        timeout: float | None = None,
        grace: float = 5.0,
        backlog: Backlog | None = None,
    ) -> None:
        """Run the call that was prepared last. `timeout` and `grace` are seconds; `backlog` is where its lines pile up.

        `on_result` is called once: a block's fault, its time limit and the worker's death come as a Result, too, the
        latter two when nothing of the worker's process group is left.
        """
        self.calls += 1
        self._call = self._prepared
        self._on_result = on_result
        if self.gone.done():
            self._finish(self._died(self._call, self.gone.result()))
            return
        self._capture = LineCapture(on_log, self._caps)
        self._backlog = backlog
        if timeout is not None:
            self._timer = self._loop.call_later(timeout, self._time_out, timeout, grace)
        self._send(_START)

    def _give_up(self) -> None:
        log.error("worker %s did not come up within %g s: it is ended", self.pid, self._up_within)
        self.end(0)

    async def _end_before_raising(self, grace: float) -> None:
        stopping = asyncio.ensure_future(self._stop_answering(grace))
        with anyio.CancelScope(shield=True):  # anyio would cancel again and again
            while not stopping.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(stopping)

    async def _stop_answering(self, grace: float) -> None:
        """End the worker; what is being answered just then is over, one way or the other, when this returns."""
        self._answers_more = False
        for reply in self._replies:
            reply.cancel()
        await self.stop(grace)
        while self._replies:
            for reply in self._replies:
                reply.cancel()
            await asyncio.wait(self._replies, timeout=1.0)

    async def stop(self, grace: float = 5.0) -> None:
        """End the worker and everything it started: TERM, `grace` seconds, KILL. Returns when nothing is left."""
        self.end(grace)
        await asyncio.shield(self.gone)

    def end(self, grace: float = 5.0) -> None:
        """Begin what `stop` does. A call under way gets its Result when nothing is left, whatever comes till then."""
        self.is_retiring = True
        if self.gone.done() or self._is_ending:
            return
        self._is_ending = True
        self._kill(self.pid, signal.SIGTERM)
        timer = self._loop.call_later(grace, self._kill, self.pid, signal.SIGKILL)
        self.gone.add_done_callback(lambda _: timer.cancel())

    def _time_out(self, limit: float, grace: float) -> None:
        if not self._is_ending:
            self._timed_out = limit
            self.end(grace)

    def ended(self, status: int) -> None:
        """Hear from the template that the process and all it started are gone; `status` as Popen.returncode."""
        if self.gone.done():
            return
        self._read(sys.maxsize)
        self._coming_up.cancel()
        self._drop_descriptors()
        how = _how_it_ended(status)
        self.gone.set_result(how)
        if self._call is not None:
            self._finish(self._died(self._call, how))
        self._on_end(self)

    def _drop_descriptors(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for fd in self._pipes:
            self._drain(fd, sys.maxsize)
            self._loop.remove_reader(fd)
            os.close(fd)
        self._pipes = {}
        self._printed = select.poll()
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
            if not data or not self._takes(data):
                self._loop.remove_reader(self._socket)
                self.is_retiring = True
                self._kill(self.pid, signal.SIGKILL)  # it closed its socket or wrote into it: no call can reach it
                return
            if len(data) < _READ:
                return

    def _takes(self, data: bytes) -> bool:
        """Take in what was received; False when it is nothing that a worker says."""
        buffer = self._received
        buffer += data
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[:4], "big")
            if end > _MOST_BYTES:
                return False
            if len(buffer) < end:
                break
            try:
                message = to_service(bytes(buffer[4:end]))
            except msgspec.MsgspecError:
                return False
            del buffer[:end]
            self._take(message)
        return True

    def _take(self, message: FromWorker) -> None:
        match message:
            case Result():
                self._take_result(message)
            case LogRecord():
                self._drain_printed()
                if self._capture is not None and message.call == self._call:
                    self._capture.record(message.level, message.message)
                    self._hold_while_full()
            case Question():
                self._take_question(message)
            case Ready():
                self._is_up = True
                self._coming_up.cancel()
            case Retire():
                self.is_retiring = True

    def _take_question(self, question: Question) -> None:
        self._drain_printed()
        if question.call != self._call or not self._answers_more:
            return
        reply = self._loop.create_task(self._reply(question))
        self._replies.add(reply)
        reply.add_done_callback(self._replied)

    async def _reply(self, question: Question) -> None:
        call, number = question.call, question.number
        try:
            answer = Answer(call, number, await self._answers(question.name, question.content))
        except HeadraceError as error:
            answer = Answer(call, number, error=error.message, remedy=error.remedy, code=error.code)
        self._send(encode(answer))

    def _replied(self, reply: asyncio.Task[None]) -> None:
        self._replies.discard(reply)
        error = None if reply.cancelled() else reply.exception()
        if error is None:
            return
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(error)
        else:
            log.error("a question of worker %s could not be answered: it is ended", self.pid, exc_info=error)
            self.end()

    def _take_result(self, result: Result) -> None:
        self._drain_printed()
        if result.call != self._call or self._is_ending:
            return
        self.grown = result.grown
        self._finish(result)

    def _finish(self, result: Result) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._capture is not None:
            self._capture.finish()
        on_result = self._on_result
        self._timer = self._capture = self._on_result = self._call = None
        if on_result is not None:
            on_result(result)

    def _drain_printed(self) -> None:
        """Read what was printed before this moment, or before the message at hand was written."""
        for fd, _ in self._printed.poll(0):
            self._drain(fd)

    def _drain(self, fd: int, turns: int = _TURNS) -> None:
        for _ in range(turns):
            try:
                data = os.read(fd, _PIPE_READ)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(fd)
                return
            if self._capture is not None:
                self._capture.feed(self._pipes[fd], data)
                self._hold_while_full()
            if len(data) < _PIPE_READ:
                return

    def _hold_while_full(self) -> None:
        """Read nothing more until what was read so far is written: pipe and socket fill up, and the block waits."""
        if self._backlog is None or self._is_held or not self._backlog.is_full:
            return
        self._is_held = True
        for descriptor in (self._socket.fileno(), *self._pipes):
            self._loop.remove_reader(descriptor)
        self._backlog.when_room(self._go_on)

    def _go_on(self) -> None:
        self._is_held = False
        if self.gone.done():
            return
        self._loop.add_reader(self._socket, self._read)
        for fd in self._pipes:
            self._loop.add_reader(fd, self._drain, fd)

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
        if self._is_up:
            message = f"the worker ended {how} while it ran the block."
        else:
            message = f"the worker did not come up: it ended {how} before the block began."
        return Result(call, Outcome.FAILED, failure=Failure("died", "WorkerDied", message, text=message))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"with exit code {status}"
    with contextlib.suppress(ValueError):
        return f"by signal {-status} ({signal.Signals(-status).name})"
    return f"by signal {-status}"
