"""The service's side of the template process: starts it, asks it for forks and signals, hears of ended workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.domain.errors import HeadraceError
from headrace.worker import linux

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
"""How long the template may take for a fork or a signal; then it hangs, and no block could be ended through it."""

_PACKET = 4096
_GONE = -int(signal.SIGKILL)


class WorkersUnavailable(HeadraceError):
    """No worker can be started: the template process ended, or did not come up."""

    code = "workers-unavailable"


class Started(Protocol):
    """A started process, as `asyncio.subprocess.Process` is."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    async def wait(self) -> int: ...


Spawn = Callable[[Sequence[str], Mapping[str, str], int], Awaitable[Started]]
"""Starts a program from its arguments and environment, with one descriptor left open to it."""


async def spawn(arguments: Sequence[str], environ: Mapping[str, str], fd: int) -> Started:
    """Start the template in a session of its own, so that a terminal's Ctrl-C reaches the service alone."""
    return await asyncio.create_subprocess_exec(
        *arguments, env=environ, pass_fds=(fd,), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )


@dataclass(frozen=True, slots=True)
class Forked:
    """A new worker: its pid and our ends of its socket, stdout and stderr."""

    pid: int
    socket: socket.socket
    stdout: int
    stderr: int


class TemplateProcess:
    """One life of the template: started, ready, ended. `on_exit(pid, status)` is called for each ended worker.

    Whatever it is asked for it answers. One that lets `answer_within` seconds pass hangs: it ends, with its workers.
    """

    def __init__(
        self,
        on_exit: Callable[[int, int], None],
        on_end: Callable[[], None],
        answer_within: float = ANSWER_SECONDS,
    ) -> None:
        self._on_exit = on_exit
        self._on_end = on_end
        self._answer_within = answer_within
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._is_up = False
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._next = 0
        self._deadlines: dict[int, asyncio.TimerHandle] = {}
        self._live: set[int] = set()
        self._socket: socket.socket | None = None
        self._process: Started | None = None

    @property
    def pid(self) -> int:
        """The template's pid, 0 before its start."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether forks can be asked for."""
        return self._socket is not None and self._is_up

    async def start(self, launch: Spawn, environ: Mapping[str, str], preload: Sequence[str], deadline: float) -> None:
        """Start, and return when the template has imported everything. Raises WorkersUnavailable."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours, self._read)
        arguments = [sys.executable, "-P", "-m", "headrace.worker.template", "--socket", str(theirs.fileno())]
        try:
            self._process = await launch(
                [*arguments, *(f"--preload={name}" for name in preload)], environ, theirs.fileno()
            )
            theirs.close()
            async with asyncio.timeout(deadline):
                await self._ready
        except TimeoutError as error:
            self._end_at_once()
            await self.stop()
            raise _not_up(f"was not ready within {deadline:g} s: one of its imports hangs") from error
        except OSError as error:
            raise _not_up(f"could not be started: {error}") from error
        except WorkersUnavailable as error:
            await self.stop()
            raise _not_up("ended before it was ready") from error
        finally:
            theirs.close()
            if not self._is_up:
                self._close()

    async def fork(self) -> Forked:
        """One more worker. Raises WorkersUnavailable when the template is gone or cannot fork."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ends = [*os.pipe(), *os.pipe()]
        out, out_end, err, err_end = ends
        try:
            pid = await self._ask_fork([theirs.fileno(), out_end, err_end])
        except BaseException:
            ours.close()
            os.close(out)
            os.close(err)
            raise
        finally:
            theirs.close()
            os.close(out_end)
            os.close(err_end)
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        return Forked(pid, ours, out, err)

    async def _ask_fork(self, fds: list[int]) -> int:
        if self._socket is None:
            raise _ended()
        number = self._number("a fork")
        answer: asyncio.Future[int] = self._loop.create_future()
        self._forks[number] = answer
        try:
            socket.send_fds(self._socket, [json.dumps({"op": "fork", "id": number}).encode()], fds)
            return await answer
        except OSError as error:
            raise _ended() from error
        finally:
            self._forks.pop(number, None)

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a worker's whole process group; nothing happens if it has ended."""
        if self._socket is None:
            return
        request = {"op": "kill", "id": self._number("a signal"), "pid": pid, "signal": int(number)}
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(request).encode())

    def _number(self, what: str) -> int:
        """The number of a request, which is to be answered in time."""
        self._next += 1
        self._deadlines[self._next] = self._loop.call_later(self._answer_within, self._hangs, what)
        return self._next

    def _hangs(self, what: str) -> None:
        log.error(
            "the workers' template process %s was asked for %s and has not answered within %g s: it hangs, and "
            "is ended with its workers",
            self.pid, what, self._answer_within,
        )  # fmt: skip
        self._end_at_once()
        self._lost(f"did not answer within {self._answer_within:g} s and was ended")

    def _end_at_once(self) -> None:
        """Kill the template and its children: one that is stuck in a fork is bound to nobody's end yet."""
        if self._process is None:
            return
        pids = linux.children(self.pid)
        self._process.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Close the socket: the template ends every process below it, then itself. Returns when it has."""
        self._close()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _read(self) -> None:
        while self._socket is not None:
            try:
                packet = self._socket.recv(_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._lost()
                return
            self._take(json.loads(packet))

    def _take(self, message: dict[str, Any]) -> None:
        operation = message["op"]
        if (deadline := self._deadlines.pop(message.get("id", 0), None)) is not None:
            deadline.cancel()
        if operation == "exited":
            self._live.discard(message["pid"])
            self._on_exit(message["pid"], message["status"])
        elif operation == "forked":
            self._live.add(message["pid"])
            self._answer(message)
        elif operation == "refused":
            self._refuse(message)
        elif operation == "ready" and not self._ready.done():
            self._is_up = True
            self._ready.set_result(None)

    def _answer(self, message: dict[str, Any]) -> None:
        waiting = self._forks.get(message["id"])
        if waiting is not None and not waiting.done():
            waiting.set_result(message["pid"])
        # else nobody waits any more: our end of its socket is closed, so the worker ends by itself

    def _refuse(self, message: dict[str, Any]) -> None:
        waiting = self._forks.get(message["id"])
        if waiting is not None and not waiting.done():
            waiting.set_exception(
                WorkersUnavailable(
                    f"no worker could be forked: {message['reason']}.", remedy="Free memory or processes."
                )
            )

    def _lost(self, how: str = "has ended") -> None:
        """The template is gone; the kernel has killed its workers, their own children are left to us."""
        was_up = self.is_alive
        self._close(how)
        for pid in self._live:
            for send in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    send(pid, signal.SIGKILL)
        for pid in tuple(self._live):
            self._on_exit(pid, _GONE)
        self._live.clear()
        if was_up:
            self._on_end()

    def _close(self, how: str = "has ended") -> None:
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for deadline in self._deadlines.values():
            deadline.cancel()
        self._deadlines.clear()
        answers: list[asyncio.Future[Any]] = [self._ready, *self._forks.values()]
        for waiting in answers:
            if not waiting.done():
                waiting.set_exception(_ended(how))
                waiting.exception()  # told to whoever awaits it; nobody has to


def _ended(how: str = "has ended") -> WorkersUnavailable:
    return WorkersUnavailable(f"the workers' template process {how}.", remedy="It is started again; try again.")


def _not_up(how: str) -> WorkersUnavailable:
    return WorkersUnavailable(
        f"the workers' template process {how}.", remedy="Look at the service's error output for what its imports said."
    )
