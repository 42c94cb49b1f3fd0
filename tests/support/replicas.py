"""Two servers of Postgres: a primary whose commits wait for its standby, and the standby, which can take its place."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from headrace.store.binaries import copied_within_reach, find_binaries, reachable
from headrace.store.embedded import place_of

from tests.support.postgres import server_home

USER = "headrace"
PORT = 5432
START_SECONDS = 60.0


@dataclass
class Node:
    """One server, in a folder of its own."""

    folder: Path
    binaries: Path
    owner: dict[str, int]
    """The user whom it runs as, as subprocess takes it."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def dsn(self) -> str:
        return f"postgresql://{USER}@/postgres?host={self.folder}&port={PORT}"

    def call(self, program: str, *arguments: str) -> None:
        """Run one of Postgres's programs to its end."""
        done = subprocess.run([self.binaries / program, *arguments], capture_output=True, text=True, **self.owner)
        assert done.returncode == 0, done.stderr

    def start(self, **settings: str) -> None:
        """Start it; nobody waits until it answers."""
        given = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "port": str(PORT), **settings}
        options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data, *options], stdout=log, stderr=log, **self.owner
            )

    def kill(self) -> None:
        """kill -9 of its first process; the others follow."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """An immediate end, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(3)
            self.process.wait()

    async def answer(self, sql: str) -> object:
        """The first value of a query's first row, as soon as the server answers with a true one."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    connection = await asyncpg.connect(self.dsn)
                    try:
                        if value := await connection.fetchval(sql):
                            return value
                    finally:
                        await connection.close()
                await asyncio.sleep(0.05)


@dataclass
class Replicas:
    """The two servers."""

    primary: Node
    standby: Node

    async def fail_over(self) -> None:
        """The primary dies without a word, and the standby takes its place."""
        self.primary.kill()
        await self.standby.answer("SELECT pg_promote()")
        await self.standby.answer("SELECT NOT pg_is_in_recovery()")


@asynccontextmanager
async def replicas() -> AsyncIterator[Replicas]:
    """A primary and its synchronous standby, until the block ends."""
    with server_home() as home:
        primary, standby = (_node(home, name) for name in ("primary", "standby"))
        try:
            primary.call("initdb", "-D", str(primary.data), "-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C")
            primary.start(synchronous_standby_names="*")
            await primary.answer("SELECT true")
            source = ("-h", str(primary.folder), "-p", str(PORT), "-U", USER)
            standby.call("pg_basebackup", *source, "-D", str(standby.data), "-R", "-c", "fast")
            standby.start()
            await primary.answer("SELECT sync_state = 'sync' FROM pg_stat_replication")
            yield Replicas(primary, standby)
        finally:
            primary.stop()
            standby.stop()


def _node(home: Path, name: str) -> Node:
    environ = {"HEADRACE_HOME": str(home), "HEADRACE_POSTGRES_BINARIES": "wheel"}
    place, binaries = place_of(home, environ), find_binaries(environ)
    folder = home / name
    folder.mkdir(mode=0o700)
    owner: dict[str, int] = {}
    if os.getuid() == 0:
        os.chown(folder, place.uid, place.gid)
        owner = {"user": place.uid, "group": place.gid}
        if not reachable(binaries.folder, place.uid, place.gid):
            binaries = copied_within_reach(binaries, home)
    return Node(folder, binaries.folder, owner)
