"""Embedded servers for tests: homes that any user's server can reach, and fresh databases copied from a template.

Homes lie in memory where there is room. A fresh database is 300 new files, and on a disk making and dropping them costs
ten times the processor that copying them does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from headrace.store.binaries import SUPPORTED_MAJORS, Binaries, find_binaries, installed
from headrace.store.embedded import Attachment, attach
from headrace.store.migrations import migrate
from headrace.store.server import alive

TEMPLATE = "migrated_template"
MEMORY = Path("/dev/shm")  # noqa: S108 - the folders in it get names of their own
ROOM = 4 << 30
SETTING = "HEADRACE_TEST_POSTGRES"
"""Names the Postgres that the tests start: a major version that is found here, or a folder of binaries."""


def chosen_binaries() -> str:
    """What HEADRACE_POSTGRES_BINARIES is to be for the tests: the newest of the wheel, unless another was asked for."""
    wanted = os.environ.get(SETTING, "")
    if wanted.isdigit():
        return str(find_binaries({"PATH": os.environ["PATH"]}, major=int(wanted)).folder)
    return wanted or "wheel"


def found_binaries() -> list[Binaries]:
    """One installation of each supported major version that is found here, the one asked for included."""
    places = ({"HEADRACE_POSTGRES_BINARIES": chosen_binaries()}, {"PATH": os.environ["PATH"]})
    found = {each.major: each for place in reversed(places) for each in reversed(installed(place))}
    return [found[major] for major in SUPPORTED_MAJORS if major in found]


@cache
def place_of_homes() -> Path:
    """The folder for servers' files: in memory, unless that is small or lets no program run."""
    usable = MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return MEMORY if usable and shutil.disk_usage(MEMORY).free > ROOM else Path("/tmp")  # noqa: S108


@contextmanager
def server_home() -> Iterator[Path]:
    """A folder for a server's files; pytest's own folders are closed to the user whom root runs the server as."""
    home = Path(tempfile.mkdtemp(prefix="headrace-test-", dir=place_of_homes()))
    home.chmod(0o755)
    try:
        yield home
        _until_its_server_is_gone(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _until_its_server_is_gone(home: Path) -> None:
    """Wait for the end of the home's server, which stays a moment after its last user has left."""
    with suppress(FileNotFoundError, ValueError, IndexError):
        until_gone(int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))


def server_environ(home: Path, binaries: str = "") -> dict[str, str]:
    """The environment in which Headrace runs its server in `home`, from `binaries` or those chosen for the tests."""
    without_address = {name: value for name, value in os.environ.items() if name != "HEADRACE_DATABASE_URL"}
    return {
        **without_address,
        "HEADRACE_HOME": str(home),
        "HEADRACE_POSTGRES_BINARIES": binaries or chosen_binaries(),
    }


def until_gone(*pids: int) -> None:
    """Wait until none of these processes lives."""
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"one of {pids} still lives"
        time.sleep(0.01)


def in_a_loop_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in another thread, so that this one's event loop stays as it is."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


@dataclass(frozen=True)
class Server:
    """An embedded server with a migrated template database."""

    attachment: Attachment

    def dsn(self, database: str) -> str:
        return self.attachment.dsn(database)

    @asynccontextmanager
    async def fresh(self, template: str = TEMPLATE) -> AsyncIterator[str]:
        """The address of a database that is dropped at the end; `template1` as template makes an empty one."""
        name = "t_" + secrets.token_hex(6)
        strategy = "FILE_COPY" if place_of_homes() == MEMORY else "WAL_LOG"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}")
        try:
            yield self.dsn(name)
        finally:
            await self.run(f"DROP DATABASE {name} WITH (FORCE)")

    async def run(self, sql: str) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def make_template(self) -> None:
        await self.run(f"CREATE DATABASE {TEMPLATE}")
        connection = await asyncpg.connect(self.dsn(TEMPLATE))
        try:
            await migrate(connection)
        finally:
            await connection.close()


@contextmanager
def session_server() -> Iterator[Server]:
    """A server for a whole session of tests."""
    with server_home() as home:
        attachment = attach(home, server_environ(home))
        try:
            server = Server(attachment)
            in_a_loop_of_its_own(server.make_template())
            yield server
        finally:
            attachment.close()
            until_gone(attachment.pid, attachment.keeper_pid)
