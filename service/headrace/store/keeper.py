"""The keeper: a small process that runs Postgres on one data folder for as long as somebody holds a connection to it.

Clients connect to `keeper.sock` in the private runtime folder and get lines of JSON: `ready` with the server's address,
again after each restart, or `error`. A client may ask that the server stays up for a while without any. When the last
client is gone (kill -9 included), Postgres is stopped. This module runs without site-packages, so it and `server.py`
import the standard library only and stay small; `embedded.py` imports their names to speak the same protocol.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import time
from pathlib import Path

from headrace.store.server import KeeperError, Orders, Postmaster, Server, log_tail, require_private

CONTROL_SOCKET = "keeper.sock"
LOG_LIMIT = 8_000_000  # bytes; a longer server log is set aside when the keeper starts

_FIRST_CLIENT_SECONDS = 15.0
_LONGEST_STAY_SECONDS = 3600.0
_STAY = b"stay "
_POLL_SECONDS = 0.005
_ADOPTED_POLL_SECONDS = 0.2
_START_SECONDS = 120.0  # crash recovery after a kill may take long
_FAILED_STARTS = 6


def stay_request(seconds: float) -> bytes:
    """Return the line by which a client asks that the server stays up for so long from now."""
    return _STAY + str(int(seconds)).encode() + b"\n"


class Keeper:
    """The keeper's loop: clients, the server's state, and the moment to leave."""

    def __init__(self, orders: Orders, listener: socket.socket) -> None:
        self.server = Server(orders)
        self.orders = orders
        self.listener = listener
        self.clients: set[socket.socket] = set()
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.failed_starts = 0
        self.announcement: bytes | None = None
        self.leave_at = time.monotonic() + _FIRST_CLIENT_SECONDS
        self.stay_until = 0.0
        self.begin_at = 0.0  # when to start the server next; after failures it lies ahead
        self.give_up_at = 0.0

    def run(self) -> None:
        """Keep the server until the last client is gone or a signal asks to stop."""
        self._listen()
        try:
            self._keep()
        except Exception as error:  # the boundary of this process: whatever went wrong, the clients hear it
            self._refuse(error)
        finally:
            self._close_door()
            self.server.stop()
            self._sweep()

    def _sweep(self) -> None:
        try:
            os.rmdir(self.orders.runtime)  # we still hold the lock: the next keeper makes it anew
        except OSError:
            return  # a server that could not be stopped is still in there

    def _listen(self) -> None:
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self._welcome)
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self.wakeup = (reader, writer)
        self.selector.register(reader, selectors.EVENT_READ, lambda: self._drain(reader))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        self.stopping = True

    @staticmethod
    def _drain(reader: socket.socket) -> None:
        reader.recv(4096)

    def _keep(self) -> None:
        self.server.prepare()
        while not self.stopping and not self._abandoned():
            self._tend()
            for key, _ in self.selector.select(self._pause()):
                key.data()

    def _abandoned(self) -> bool:
        return not self.clients and time.monotonic() >= self._leave_at()

    def _leave_at(self) -> float:
        return max(self.leave_at, self.stay_until)

    def _tend(self) -> None:
        """Move the server one step: start it, see it ready, or see it gone."""
        now = time.monotonic()
        if self.server.pid is None:
            if now >= self.begin_at:
                self.server.start()
                self.give_up_at = now + _START_SECONDS
        elif not self.server.runs():
            self._lost(now)
        elif self.announcement is None:
            self._watch_start(now)

    def _watch_start(self, now: float) -> None:
        ready = self.server.ready()
        if ready is not None:
            self.failed_starts = 0
            self._announce(ready)
        elif now > self.give_up_at:
            raise KeeperError(f"Postgres did not become ready within {_START_SECONDS:.0f} s.")

    def _lost(self, now: float) -> None:
        if self.announcement is None:
            self.failed_starts += 1
        if self.failed_starts >= _FAILED_STARTS:
            raise KeeperError(f"Postgres ended {self.failed_starts} times before it was ready.")
        self.server.pid = self.announcement = None
        self.begin_at = now + (0.05 * 2**self.failed_starts if self.failed_starts else 0.0)

    def _pause(self) -> float | None:
        now = time.monotonic()
        waits = [] if self.clients else [self._leave_at() - now]
        if self.server.pid is None:
            waits.append(self.begin_at - now)
        elif self.announcement is None:
            waits.append(_POLL_SECONDS)
        elif self.server.child is None:
            waits.append(_ADOPTED_POLL_SECONDS)
        return max(0.0, min(waits)) if waits else None

    def _welcome(self) -> None:
        client, _ = self.listener.accept()
        client.setblocking(False)
        self.clients.add(client)
        self.selector.register(client, selectors.EVENT_READ, lambda: self._hear(client))
        if self.announcement is not None:
            self._tell(client, self.announcement)

    def _hear(self, client: socket.socket) -> None:
        try:
            said = client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._part(client)
        elif said.startswith(_STAY) and (seconds := said.splitlines()[0][len(_STAY) :]).isdigit():
            self.stay_until = time.monotonic() + min(float(seconds), _LONGEST_STAY_SECONDS)

    def _part(self, client: socket.socket) -> None:
        if client not in self.clients:
            return
        self.selector.unregister(client)
        self.clients.discard(client)
        client.close()
        self.leave_at = time.monotonic() + self.orders.linger

    def _tell(self, client: socket.socket, line: bytes) -> None:
        try:
            client.send(line)  # a line is far smaller than a socket's buffer
        except OSError:
            self._part(client)

    def _announce(self, ready: Postmaster) -> None:
        facts = {"state": "ready", "host": ready.host, "port": ready.port, "pid": ready.pid, "keeper": os.getpid()}
        self.announcement = json.dumps(facts).encode() + b"\n"
        for client in list(self.clients):
            self._tell(client, self.announcement)

    def _refuse(self, error: Exception) -> None:
        line = _error_line(error, self.orders.log)
        while not self.clients and time.monotonic() < self.leave_at:
            self.selector.select(0.05)
            self._accept_waiting()
        self._accept_waiting()
        for client in list(self.clients):
            self._tell(client, line)

    def _accept_waiting(self) -> None:
        try:
            while True:
                self._welcome()
        except BlockingIOError:
            return

    def _close_door(self) -> None:
        # The name goes first: who comes from now on finds no socket and starts the next keeper.
        Path(self.orders.runtime, CONTROL_SOCKET).unlink(missing_ok=True)
        self.listener.close()
        for client in self.clients:
            client.close()


def _error_line(error: Exception, log: Path) -> bytes:
    code = "folder-unusable" if isinstance(error, OSError) else getattr(error, "code", KeeperError.code)
    message = str(error) if isinstance(error, KeeperError) else f"{type(error).__name__}: {error}"
    return json.dumps({"state": "error", "code": code, "message": message, "log": log_tail(log)}).encode() + b"\n"


def _drop_rights(orders: Orders) -> None:
    # From here on nothing more may be imported: the plain user may be unable to read this Python's library.
    if os.getuid() == orders.uid:
        return
    os.setgroups([])
    os.setgid(orders.gid)
    os.setuid(orders.uid)


def _lock(orders: Orders) -> int:
    descriptor = os.open(Path(orders.folder, "keeper.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + 30
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise KeeperError(f"Another keeper holds {orders.folder} and does not answer.") from None
            time.sleep(_POLL_SECONDS)
        else:
            return descriptor


def _bind(orders: Orders) -> socket.socket:
    runtime = Path(orders.runtime)
    runtime.mkdir(mode=0o700, exist_ok=True)
    require_private(runtime, orders.uid)
    path = runtime / CONTROL_SOCKET
    path.unlink(missing_ok=True)  # a killed keeper's; we hold the lock, so nobody listens there
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def _set_log_aside(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.rename(log.with_suffix(".log.1"))


def _detach_from_starter() -> None:
    """Leave the starter's process tree, so that it never has to reap this process."""
    if os.fork() != 0:
        os._exit(0)


def _silence() -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    os.close(quiet)


def main(argument: str) -> None:
    """Run a keeper; the one line on stdout tells the starter that clients may connect, or why they may not."""
    orders = Orders(**json.loads(argument))
    try:
        _drop_rights(orders)
        os.umask(0o077)
        os.chdir(orders.folder)
        _detach_from_starter()
        lock = _lock(orders)
        _set_log_aside(orders.log)
        listener = _bind(orders)
    except (KeeperError, OSError) as error:
        os.write(1, _error_line(error, orders.log))
        return
    os.write(1, b'{"state": "listening"}\n')
    _silence()
    try:
        Keeper(orders, listener).run()
    finally:
        os.close(lock)
