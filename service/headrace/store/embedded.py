"""The embedded server as its users see it: where it lives, and a held connection to its keeper.

The server runs for as long as at least one `Attachment` of any process is open. See `keeper.py` for the other side.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headrace.store import keeper, server
from headrace.store.binaries import Binaries, copied_within_reach, find_binaries, reachable
from headrace.store.errors import FolderUnusable, OtherMajorVersion, ServerStartFailed, ServerUserMissing, StoreError

HOME_SETTING = "HEADRACE_HOME"
_ROOT_HOME = Path("/var/lib/headrace")
_ATTACH_SECONDS = 150.0
_SILENT_KEEPERS = 10  # one that is leaving says nothing, once or twice; more means that keepers die at once
_PACKAGES = Path(__file__).resolve().parents[2]
_KEEPER = "import sys; sys.path[:0] = sys.argv[1:2]; from headrace.store.keeper import main; main(sys.argv[2])"
"""What the keeper's Python runs: isolated and without site-packages, it knows this package alone."""
_ERRORS: dict[str, type[StoreError]] = {
    error.code: error for error in (FolderUnusable, OtherMajorVersion, ServerStartFailed)
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project's embedded server lives, and whom it runs as."""

    folder: Path
    runtime: Path
    uid: int
    gid: int

    @property
    def data(self) -> Path:
        return self.folder / "data"


def place_of(project: Path, environ: Mapping[str, str]) -> Place:
    """Return the place of a project's server: `<project>/.headrace/postgres`, or HEADRACE_HOME's, or root's own.

    Root cannot run Postgres, so as root the server runs as `postgres` or `nobody` from /var/lib/headrace. Raises
    ServerUserMissing.
    """
    uid, gid = _server_user()
    folder = (_home(project, environ) / "postgres").resolve()
    runtime = Path("/tmp") / f"headrace-{uid}-{_short_hash(folder)}"  # noqa: S108 - checked to be ours before use
    return Place(folder, runtime, uid, gid)


def _home(project: Path, environ: Mapping[str, str]) -> Path:
    if environ.get(HOME_SETTING):
        return Path(environ[HOME_SETTING])
    return _ROOT_HOME / _short_hash(project.resolve()) if os.getuid() == 0 else project / ".headrace"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _server_user() -> tuple[int, int]:
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ServerUserMissing(
        "Postgres does not run as root, and there is no user `postgres` or `nobody` to run it as.",
        remedy="Run Headrace as an ordinary user, add such a user, or set HEADRACE_DATABASE_URL.",
    )


@dataclass(frozen=True, slots=True)
class Attachment:
    """An open connection to a keeper: the server lives while it is open."""

    place: Place
    host: str
    port: int
    pid: int
    keeper_pid: int
    password: str
    connection: socket.socket

    def dsn(self, database: str = server.DATABASE) -> str:
        """Return the address of one database of the server, as psql and asyncpg take it."""
        return (
            f"postgresql://{server.SUPERUSER}:{self.password}@/{quote(database, safe='')}"
            f"?host={quote(self.host, safe='/')}&port={self.port}"
        )

    def keep_for(self, seconds: float) -> None:
        """Let the server stay up for so long from now, an hour at most, even when nobody holds it any more."""
        self.connection.send(keeper.stay_request(seconds))

    def close(self) -> None:
        """Let go of the server; it stops soon unless others hold it."""
        self.connection.close()


def attach(project: Path, environ: Mapping[str, str] = os.environ, *, linger: float = 0.3) -> Attachment:
    """Connect to the keeper of a project's server, starting keeper and server where needed; blocks until it is ready.

    `linger` is how many seconds a keeper that this call starts waits for another client after the last one left.
    Raises StoreError: FolderUnusable, ServerStartFailed, OtherMajorVersion, PostgresNotFound and its kin.
    """
    place = place_of(project, environ)
    deadline = time.monotonic() + _ATTACH_SECONDS
    for attempt in range(_SILENT_KEEPERS):
        connection = _connect(place) or _started(place, environ, linger, deadline)
        attachment = _greeted(place, connection, deadline) if connection is not None else None
        if attachment is not None:
            return attachment
        if time.monotonic() > deadline:
            raise _failed(place, f"The server in {place.folder} was not ready within {_ATTACH_SECONDS:.0f} s.")
        time.sleep(0.02 * attempt)
    raise _failed(place, f"{_SILENT_KEEPERS} keepers of {place.folder} ended without a word.")


def _greeted(place: Place, connection: socket.socket, deadline: float) -> Attachment | None:
    """Return the attachment once the keeper says ready, or None when it left: the next one is started then."""
    try:
        answer = _answer(connection, deadline)
    except BaseException:
        connection.close()
        raise
    if answer is None:
        connection.close()
        return None
    return _attached(place, answer, connection)


def _attached(place: Place, answer: dict[str, Any], connection: socket.socket) -> Attachment:
    password = (place.folder / "password").read_text("ascii").strip()
    return Attachment(place, answer["host"], answer["port"], answer["pid"], answer["keeper"], password, connection)


def _connect(place: Place) -> socket.socket | None:
    try:
        server.require_private(place.runtime, place.uid)
    except FileNotFoundError:
        return None
    except server.KeeperError as error:
        raise FolderUnusable(str(error)) from error
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(place.runtime / keeper.CONTROL_SOCKET))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _answer(connection: socket.socket, deadline: float) -> dict[str, Any] | None:
    """Return the keeper's first word, or None when it left without one. Raises what the keeper reports."""
    line = _read_line(connection.fileno(), deadline)
    if not line.endswith(b"\n"):
        return None
    answer: dict[str, Any] = json.loads(line)
    _raise_reported(answer)
    return answer


def _read_line(descriptor: int, deadline: float) -> bytes:
    """Read up to the first newline, the end, or the deadline; a keeper's line is one write and comes whole."""
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        part = _read_some(descriptor) if readable else b""
        if not part:
            return line
        line += part
    return line.splitlines(keepends=True)[0]


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except ConnectionResetError:
        return b""


def _raise_reported(answer: dict[str, Any]) -> None:
    if answer["state"] == "error":
        log = f"\nThe end of the server's log:\n{answer['log']}" if answer["log"] else ""
        raise _ERRORS[answer["code"]](f"{answer['message']}{log}")


def _failed(place: Place, message: str) -> ServerStartFailed:
    return ServerStartFailed(message, remedy=f"Its log is {place.folder / 'server.log'}.")


def _started(place: Place, environ: Mapping[str, str], linger: float, deadline: float) -> socket.socket | None:
    """Start a keeper unless somebody else just did; one process at a time is let through here."""
    _make_folder(place, environ)
    with _start_lock(place, deadline):
        connection = _connect(place)
        if connection is not None:
            return connection
        _spawn(_orders(place, environ, linger), deadline)
        return _connect(place)


def _make_folder(place: Place, environ: Mapping[str, str]) -> None:
    home = place.folder.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not environ.get(HOME_SETTING) and place.uid == os.getuid():
            _ignore_in_git(home)
        place.folder.mkdir(mode=0o700, exist_ok=True)
        if os.getuid() == 0:
            os.chown(place.folder, place.uid, place.gid)
    except OSError as error:
        raise FolderUnusable(
            f"The folder {place.folder} cannot be made: {error}.",
            remedy=f"Make it writable, or name another one in {HOME_SETTING}.",
        ) from error
    _require_usable(place)


def _ignore_in_git(home: Path) -> None:
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", "utf-8")


def _require_usable(place: Place) -> None:
    if os.getuid() == 0:
        usable = reachable(place.folder, place.uid, place.gid)
    else:
        usable = os.access(place.folder, os.R_OK | os.W_OK | os.X_OK)
    if not usable:
        raise FolderUnusable(
            f"The folder {place.folder} cannot be used by user {place.uid}, who runs the server.",
            remedy=f"Give that user access to it, or name another folder in {HOME_SETTING}.",
        )


@contextmanager
def _start_lock(place: Place, deadline: float) -> Iterator[None]:
    descriptor = os.open(place.folder / "start.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise _failed(place, f"Another process has been starting the server in {place.folder} for too long.")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _orders(place: Place, environ: Mapping[str, str], linger: float) -> server.Orders:
    binaries = find_binaries(environ, major=_data_major(place))
    if os.getuid() == 0 and not _binaries_reachable(binaries, place):
        binaries = copied_within_reach(binaries, place.folder)
    return server.Orders(
        str(place.folder), str(place.runtime), str(binaries.folder), binaries.major, place.uid, place.gid, linger
    )


def _binaries_reachable(binaries: Binaries, place: Place) -> bool:
    return reachable(binaries.folder, place.uid, place.gid)


def _data_major(place: Place) -> int | None:
    try:
        return int((place.data / "PG_VERSION").read_text("ascii"))
    except FileNotFoundError:
        return None


def _spawn(orders: server.Orders, deadline: float) -> None:
    """Start a keeper in a session of its own and wait until it listens. Raises what it reports."""
    command = [sys.executable, "-I", "-S", "-c", _KEEPER, str(_PACKAGES), json.dumps(asdict(orders))]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as starter:
        assert starter.stdout is not None  # noqa: S101 - a pipe was asked for
        line = _read_line(starter.stdout.fileno(), deadline)
    if not line.endswith(b"\n"):
        raise ServerStartFailed(f"The keeper of {orders.folder} ended before it listened.")
    _raise_reported(json.loads(line))
