"""The template process: imports everything that blocks need, once, and forks workers from itself on request.

It talks to the service over the socket that it was started with, one JSON object a packet. It stays single-threaded, so
that forking is safe, and it is the parent of every worker and of every orphan that a dead worker leaves: it alone knows
when nothing of a worker is left. When its socket closes, the service is gone, and everything below it is ended.

From the service: `{"op": "fork", "id"}` with three descriptors (socket, stdout, stderr) and `{"op": "kill", "pid",
"signal"}`. To the service: `{"op": "ready"}`, `{"op": "forked", "id", "pid"}`, `{"op": "exited", "pid", "status"}`.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from headrace.worker import linux

PRELOADED = (
    "cloudpickle",
    "jinja2",
    "numpy",
    "pandas",
    "pyarrow",
    "pyarrow.compute",
    "pyarrow.feather",
    "pyarrow.ipc",
    "pyarrow.parquet",
    "yaml",
    "headrace.blocks.sql",
    "headrace.worker.codec",
    "headrace.worker.executing",
    "headrace.worker.process",
)
"""Modules that every worker needs at its first call."""
_PACKET = 4096


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run until the service's end of the socket closes."""
    parser = argparse.ArgumentParser(prog="headrace.worker.template")
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--preload", action="append", default=[])
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    linux.adopt_orphans()
    service = socket.socket(fileno=asked.socket)
    service.set_inheritable(False)
    preload(asked.preload)
    Template(service).run()


def preload(modules: Iterable[str]) -> None:
    """Import what workers need, call `install()` of those of `modules` that have one, and set memory for forking."""
    installed = [importlib.import_module(name) for name in modules]
    for name in PRELOADED:
        importlib.import_module(name)
    for module in installed:
        install = getattr(module, "install", None)
        if install is not None:
            install()
    gc.collect()
    gc.freeze()


class Template:
    """Forks workers, reaps them, and leaves nothing of them behind."""

    def __init__(self, service: socket.socket) -> None:
        self._service = service
        self._workers: set[int] = set()
        self._ended: dict[int, int] = {}
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)

    def run(self) -> NoReturn:
        """Serve until the socket's end, then end every process below and exit."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        poll = select.poll()
        poll.register(self._service, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        self._tell({"op": "ready"})
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake in ready:
                self._drain_wakeups()
                self._reap()
            if self._service.fileno() in ready:
                self._take_request()

    def _drain_wakeups(self) -> None:
        try:
            while os.read(self._wake, _PACKET):
                pass
        except BlockingIOError:
            return

    def _take_request(self) -> None:
        try:
            packet, fds, _, _ = socket.recv_fds(self._service, _PACKET, 3)
        except OSError:
            packet, fds = b"", []
        if not packet:
            self._end_everything()
        request = json.loads(packet)
        if request["op"] == "fork":
            self._fork(request["id"], fds)
            return
        if request["pid"] in self._workers:
            linux.end_group(request["pid"], request["signal"])
        self._tell({"op": "signalled", "id": request["id"]})

    def _fork(self, number: int, fds: list[int]) -> None:
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self._tell({"op": "refused", "id": number, "reason": str(error)})
            return
        if pid == 0:
            self._become_worker(own, fds)
        self._workers.add(pid)
        for fd in fds:
            os.close(fd)
        self._tell({"op": "forked", "id": number, "pid": pid})

    def _become_worker(self, parent: int, fds: list[int]) -> NoReturn:
        """The child's side of a fork; never returns into the template's loop."""
        status = 1
        try:
            os.setsid()
            linux.die_with_parent(parent)
            linux.adopt_orphans()
            self._leave_template()
            _take_descriptors(*fds)
            process = sys.modules["headrace.worker.process"]
            status = process.serve(fds[0])
        except BaseException:  # a boundary: nothing may unwind into the template's loop
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _leave_template(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._service.close()
        os.close(self._wake)
        os.close(self._waker)

    def _reap(self) -> None:
        """Take in the dead; a worker is reported once no process that it left is alive."""
        self._collect()
        strays = [pid for pid in linux.children() if pid not in self._workers] if self._ended else []
        for pid in strays:
            _kill(pid)
        if not strays:
            for pid, status in self._ended.items():
                self._tell({"op": "exited", "pid": pid, "status": status})
            self._ended.clear()

    def _collect(self) -> None:
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            if dead.si_pid in self._workers:  # its pid is still taken, so this cannot hit another's group
                linux.end_group(dead.si_pid, signal.SIGKILL)
            _, status = os.waitpid(dead.si_pid, 0)
            if dead.si_pid in self._workers:
                self._workers.discard(dead.si_pid)
                self._ended[dead.si_pid] = os.waitstatus_to_exitcode(status)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._service.send(json.dumps(message).encode())
        except OSError:
            self._end_everything()

    def _end_everything(self) -> NoReturn:
        """End all workers, then whatever comes to us as an orphan, until no child is left."""
        for pid in self._workers:
            linux.end_group(pid, signal.SIGKILL)
        while True:
            for pid in linux.children():
                _kill(pid)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                os._exit(0)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _take_descriptors(service: int, out: int, err: int) -> None:
    """Make the pipes stdout and stderr, and /dev/null stdin; the socket is ours alone, not our programs'."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd in (nothing, out, err):
        os.close(fd)
    os.set_inheritable(service, False)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    faulthandler.enable(file=2)


if __name__ == "__main__":
    main()
