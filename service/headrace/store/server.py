"""Postgres on one data folder: made, started, adopted, watched and stopped. Part of the keeper's process.

It runs without site-packages, so it imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
SUPERUSER = "headrace"
DATABASE = "headrace"

_POLL_SECONDS = 0.005
_STOP_STEPS = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 2.0))
_LEFTOVER_STEPS = ((0, 1.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 2.0))
_PR_SET_PDEATHSIG = 1

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "autovacuum": "on",
    "jit": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "client_connection_check_interval": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class KeeperError(Exception):
    """The server cannot be run; the message is for the user, `code` is that of the error the client raises."""

    code = "postgres-start-failed"

    def __init__(self, message: str, code: str = code) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Orders:
    """What a keeper is told: its folders, its binaries (a bin folder of that major version), whom to run as."""

    folder: str
    runtime: str
    binaries: str
    major: int
    uid: int
    gid: int
    linger: float

    @property
    def data(self) -> Path:
        return Path(self.folder, "data")

    @property
    def log(self) -> Path:
        return Path(self.folder, "server.log")

    @property
    def password(self) -> Path:
        return Path(self.folder, "password")


@dataclass(frozen=True)
class Postmaster:
    """What a data folder's postmaster.pid tells of the server that runs there."""

    pid: int
    port: int
    host: str
    state: str


def read_postmaster(data: Path) -> Postmaster | None:
    """Return the live server of a data folder, or None: no file, half a file, or a pid that is not this server's."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid, port = int(lines[0]), int(lines[3])
    except (OSError, ValueError, IndexError):
        return None
    if not runs_in(pid, data):
        return None
    state = lines[7].strip() if len(lines) > 7 else "starting"
    return Postmaster(pid, port, lines[4].strip(), state)


def alive(pid: int) -> bool:
    """Tell if a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


def runs_in(pid: int, data: Path) -> bool:
    """Tell if a live process works in this data folder; after a reboot a stale pid may be anybody's."""
    if not alive(pid):
        return False
    if not Path("/proc/self").exists():
        return True  # no /proc to tell more (macOS)
    try:
        program = Path(f"/proc/{pid}/comm").read_text()
        return program.startswith("post") and os.path.samefile(f"/proc/{pid}/cwd", data)
    except OSError:
        return False


def require_private(folder: Path, uid: int) -> None:
    """Raise KeeperError unless `folder` is a real folder of `uid` that nobody else can enter."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or stat.S_IMODE(status.st_mode) & 0o077:
        raise KeeperError(
            f"The folder {folder} is not a folder of user {uid} with mode 0700: remove it or find out who made it.",
            "folder-unusable",
        )


def log_tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, or nothing when it cannot be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4000))
            return "\n".join(stream.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""


def _die_with(parent: int, deadly: int) -> Callable[[], None]:
    """Return what a child runs before exec so that it gets a signal when its parent is killed (Linux)."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None

    def bind() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, deadly, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return bind


def _server_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _wait_until(done: Callable[[], bool], seconds: float, pause: float = _POLL_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def _processes_in(data: Path) -> list[int]:
    if not Path("/proc/self").exists():
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and runs_in(pid, data)]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Server:
    """Postgres on one data folder: made, started, adopted, watched and stopped by its keeper."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.child: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None

    def prepare(self) -> None:
        """Make the data folder unless it is there. A kill in between leaves only a folder that is swept next time."""
        if (self.orders.data / "PG_VERSION").exists():
            return
        self._write_password()
        partial = self.orders.data.with_name("data.partial")
        subprocess.run(["/bin/rm", "-rf", str(partial)], check=True)  # noqa: S603 - a small import less than shutil
        self._call("initdb", "-D", str(partial), *self._initdb_options())
        single_user = ("postgres", "--single", "-D", str(partial), "-c", "exit_on_error=true", "postgres")
        self._call(*single_user, text=_first_statements())
        partial.rename(self.orders.data)
        _flush_folder(self.orders.data.parent)

    def _initdb_options(self) -> list[str]:
        options = ["-U", SUPERUSER, f"--pwfile={self.orders.password}", "-E", "UTF8", "--locale=C"]
        options += ["--auth-local=scram-sha-256", "--auth-host=reject"]
        if self.orders.major >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return options

    def _write_password(self) -> None:
        if self.orders.password.exists():
            return
        partial = self.orders.password.with_name("password.partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(os.urandom(24).hex())
            stream.flush()
            os.fsync(descriptor)
        partial.rename(self.orders.password)

    def _call(self, program: str, *arguments: str, text: str | None = None) -> None:
        with self.orders.log.open("ab") as log:
            finished = subprocess.run(  # noqa: S603
                [os.path.join(self.orders.binaries, program), *arguments],
                input=text.encode() if text is not None else b"",
                stdout=log,
                stderr=log,
                cwd=self.orders.folder,
                env=_server_environment(),
                preexec_fn=_die_with(os.getpid(), signal.SIGKILL),
            )
        if finished.returncode != 0:
            raise KeeperError(f"{program} failed with exit code {finished.returncode}.")

    def start(self) -> None:
        """Start Postgres, or adopt the one that runs on the folder already; returns at once."""
        running = self._settled()
        if running is not None:
            self.child, self.pid = None, running.pid
            return
        (self.orders.data / "postmaster.pid").unlink(missing_ok=True)  # nobody's: a stale pid may block the start
        self._clear_leftovers()
        settings = [part for name, value in self._settings().items() for part in ("-c", f"{name}={value}")]
        with self.orders.log.open("ab") as log:
            self.child = subprocess.Popen(  # noqa: S603
                [os.path.join(self.orders.binaries, "postgres"), "-D", str(self.orders.data), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_server_environment(),
                preexec_fn=_die_with(os.getpid(), signal.SIGINT),
            )
        self.pid = self.child.pid

    def _settings(self) -> dict[str, str]:
        return _SETTINGS | {"unix_socket_directories": self.orders.runtime}

    def _settled(self) -> Postmaster | None:
        """Return the running server, but not one that is on its way down: wait until that is gone."""
        running = read_postmaster(self.orders.data)
        if running is None or running.state != "stopping":
            return running
        self._end(running.pid)
        return None

    def _clear_leftovers(self) -> None:
        """Wait for backends that outlived a killed postmaster: while they live, Postgres refuses to start."""
        for number, seconds in _LEFTOVER_STEPS:
            for pid in _processes_in(self.orders.data):
                _signal(pid, number)
            if _wait_until(lambda: not _processes_in(self.orders.data), seconds, 0.02):
                return

    def ready(self) -> Postmaster | None:
        """Return the server's address once it accepts connections."""
        running = read_postmaster(self.orders.data)
        return running if running is not None and running.pid == self.pid and running.state == "ready" else None

    def runs(self) -> bool:
        """Tell if the server's first process lives; reaps it when it is a child of ours."""
        if self.child is not None:
            return self.child.poll() is None
        return self.pid is not None and alive(self.pid)

    def stop(self) -> None:
        """Stop Postgres: fast first, then without mercy; a crash recovery follows only the latter."""
        if self.pid is not None and self.runs():
            self._end(self.pid)

    def _end(self, pid: int) -> None:
        for number, seconds in _STOP_STEPS:
            _signal(pid, number)
            if _wait_until(lambda: not self._lives(pid), seconds):
                return

    def _lives(self, pid: int) -> bool:
        return self.runs() if pid == self.pid else alive(pid)


def _first_statements() -> str:
    # Single-user mode reads one statement a line.
    return f"CREATE DATABASE {DATABASE}\nREVOKE CONNECT ON DATABASE {DATABASE}, postgres, template1 FROM PUBLIC\n"


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
