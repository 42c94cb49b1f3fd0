"""A worker's loop: reads calls from the service's socket, runs what is started in the main thread, answers each."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import msgspec

from headrace.blocks.asking import AnswerRefused, CannotAsk, set_asker
from headrace.worker.executing import Execution, Work
from headrace.worker.linux import own_memory
from headrace.worker.preview import safe_text
from headrace.worker.protocol import (
    Answer,
    Call,
    LogRecord,
    Outcome,
    Question,
    Ready,
    Retire,
    Start,
    ToWorker,
    encode,
    to_worker,
)

MOST_CHARACTERS = 65_536
"""Characters of one record of Python's logging that are kept."""
MOST_NAME = 200
_READ = 262_144
_STOPPED = 128 + signal.SIGTERM
_asked_to_stop: list[bool] = []


class Stopped(BaseException):
    """The service ended this call: raised in the block's code by SIGTERM, so that its `finally` parts run."""


class Channel:
    """This worker's end of the socket to the service. Any thread may send; a forked child of a block may not."""

    def __init__(self, service: socket.socket) -> None:
        self._socket = service
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._questions = 0
        self._buffer = bytearray()

    @property
    def is_ours(self) -> bool:
        """Whether this process is the worker itself, not a copy that a block forked."""
        return os.getpid() == self._owner

    def send(self, message: msgspec.Struct) -> None:
        """Send one message whole."""
        data = encode(message)
        with self._lock:
            self._socket.sendall(data)

    def ask(self, call: int, name: str, content: dict[str, Any]) -> Any:
        """Ask the service and wait for its answer, one question at a time. Raises CannotAsk and AnswerRefused."""
        if not self.is_ours:
            raise CannotAsk(
                f"A process that a block forked cannot ask for {name!r}.", remedy="Ask in the block's own process."
            )
        with self._asking:
            self._questions += 1
            self.send(Question(call, self._questions, name, content))
            while (message := self.receive()) is not None:
                if isinstance(message, Answer) and message.number == self._questions:
                    return _answered(message)
        _asked_to_stop.append(True)  # the service is gone
        raise Stopped

    def receive(self) -> ToWorker | None:
        """The next message; None when the service has closed its end."""
        if not self._fill(4):
            return None
        end = 4 + int.from_bytes(self._buffer[:4], "big")
        if not self._fill(end):
            return None
        body = bytes(self._buffer[4:end])
        del self._buffer[:end]
        return to_worker(body)

    def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            try:
                data = self._socket.recv(_READ)
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._buffer += data
        return True


def _answered(answer: Answer) -> Any:
    if answer.error is not None:
        raise AnswerRefused(answer.error, remedy=answer.remedy, reason=answer.code)
    return answer.value


class ChannelHandler(logging.Handler):
    """Sends Python's log records to the service, with the call that is under way."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel
        self.call = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; what a block's forked children log goes to stderr instead."""
        try:
            text = _cut(safe_text(self.format(record)))
            if self._channel.is_ours:
                level, logger = safe_text(str(record.levelname)), safe_text(str(record.name))
                self._channel.send(LogRecord(self.call, level[:MOST_NAME], logger[:MOST_NAME], text))
            else:
                sys.stderr.write(f"{record.levelname} {text}\n")
        except Exception:  # a boundary, as in every logging.Handler: logging must not fail the block
            self.handleError(record)


def _cut(text: str) -> str:
    """A record as long as a log may show it: it travels, and is kept, in one piece."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}… ({len(text) - MOST_CHARACTERS} more characters)"


def serve(fd: int) -> int:
    """Run what is started until the service closes the socket; the exit code of this process."""
    channel = Channel(socket.socket(fileno=fd))
    _open_streams()
    logs = _install_logging(channel)
    signal.signal(signal.SIGTERM, _raise_stopped)
    execution, own = Execution(), own_memory()
    sys.dont_write_bytecode = True
    try:
        channel.send(Ready())
        while not _asked_to_stop and (message := channel.receive()) is not None:
            match message:
                case Call():
                    work = Work(message)
                    work.prepare()
                case Start():
                    _answer(channel, logs, execution, work, own)
    except (Stopped, BrokenPipeError):
        return _STOPPED
    return _STOPPED if _asked_to_stop else 0


def _raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    _asked_to_stop.append(True)
    raise Stopped


def _open_streams() -> None:
    for name, fd in (("stdout", 1), ("stderr", 2)):
        raw = open(fd, "wb", closefd=False)  # noqa: SIM115 - lives as long as the process
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _install_logging(channel: Channel) -> ChannelHandler:
    handler = ChannelHandler(channel)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    return handler


def _answer(channel: Channel, logs: ChannelHandler, execution: Execution, work: Work, own: int) -> None:
    """Carry out one call; `own` is the memory of its own that the process began with."""
    logs.call = work.call.id
    streams = sys.stdout, sys.stderr
    set_asker(partial(channel.ask, work.call.id))
    result = execution.result_of(work)
    if not channel.is_ours:  # the block forked and its child came back here: it has no say on the socket
        _flush()
        os._exit(0 if result.outcome is Outcome.COMPLETED else 1)
    set_asker(None)
    _flush()
    sys.stdout, sys.stderr = streams
    if _has_children():
        channel.send(Retire())
    channel.send(msgspec.structs.replace(result, grown=own_memory() - own))
    _undo_changes(logs)


def _undo_changes(logs: ChannelHandler) -> None:
    """Put back what a block may have replaced: the root's log handlers (`basicConfig(force=True)`), our signals."""
    root = logging.getLogger()
    if root.handlers != [logs]:
        root.handlers[:] = [logs]
    if root.level != logging.INFO:
        root.setLevel(logging.INFO)
    if signal.getsignal(signal.SIGTERM) is not _raise_stopped:
        signal.signal(signal.SIGTERM, _raise_stopped)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def _has_children() -> bool:
    """Whether processes that the call started are still there. Dead ones are reaped on the way."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
