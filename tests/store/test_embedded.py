"""The embedded server: who starts it, whom it serves, how it survives kills, and that it is gone with its last user."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from headrace.store import embedded
from headrace.store.binaries import Binaries, find_binaries
from headrace.store.database import open_database
from headrace.store.embedded import Attachment, attach, place_of
from headrace.store.errors import OtherMajorVersion, PostgresNotFound, StoreError
from headrace.store.holding import attached

from tests.support.postgres import Server, server_environ, server_home, until_gone

CLIENT = """
import sys
from pathlib import Path
from headrace.store.embedded import attach

attachment = attach(Path(sys.argv[1]))
print(attachment.pid, attachment.keeper_pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with server_home() as folder:
        yield folder


@contextmanager
def held(home: Path, binaries: str = "") -> Iterator[Attachment]:
    """An attachment, and the certainty that its server is gone after it."""
    attachment = attach(home, server_environ(home, binaries))
    try:
        yield attachment
    finally:
        attachment.close()
        until_gone(attachment.pid, attachment.keeper_pid)


@contextmanager
def client(home: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A client process, with the pids of the server and the keeper that it found."""
    command = [sys.executable, "-c", CLIENT, str(home)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=server_environ(home)
    ) as process:
        try:
            server, keeper = map(int, process.stdout.readline().split())
            yield process, server, keeper
        finally:
            process.kill()


async def answer(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def answer_in_time(dsn: str, sql: str, seconds: float = 20) -> object:
    """Ask until there is an answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await answer(dsn, sql)
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_what_was_stored_is_there_after_a_cold_start_and_a_warm_one(home: Path):
    with held(home) as cold:
        await answer(cold.dsn(), "CREATE TABLE kept (n int)")
        with held_beside(home) as other:
            assert (other.pid, other.keeper_pid) == (cold.pid, cold.keeper_pid), "two hold one server"
    with held(home) as warm:
        assert warm.pid != cold.pid
        assert warm.dsn() == cold.dsn()
        assert await answer(warm.dsn(), "SELECT count(*) FROM kept") == 0
    assert not warm.place.runtime.exists(), "the folder of its sockets goes with it"


@contextmanager
def held_beside(home: Path) -> Iterator[Attachment]:
    attachment = attach(home, server_environ(home))
    try:
        yield attachment
    finally:
        attachment.close()


@pytest.mark.parametrize(
    ("setting", "value"), [("listen_addresses", ""), ("fsync", "on"), ("full_page_writes", "on"), ("TimeZone", "UTC")]
)
async def test_a_setting_of_the_server(postgres: Server, setting: str, value: str):
    assert await answer(postgres.dsn("postgres"), f"SHOW {setting}") == value


def test_nobody_else_can_enter_the_folders_of_socket_data_and_password(postgres: Server):
    place = postgres.attachment.place
    for folder in (place.runtime, place.folder, place.data):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
        assert folder.stat().st_uid == place.uid
    assert (place.folder / "password").stat().st_mode & 0o777 == 0o600


async def test_nobody_gets_in_without_the_password(postgres: Server):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.dsn("postgres"), password="guess")


def test_the_server_does_not_run_as_root(postgres: Server):
    owner = Path(f"/proc/{postgres.attachment.pid}")
    if not owner.exists():
        pytest.skip("there is no /proc here to tell a process's user")
    assert owner.stat().st_uid == postgres.attachment.place.uid != 0


def test_the_newest_binaries_of_the_wheel_are_taken():
    assert find_binaries({"HEADRACE_POSTGRES_BINARIES": "wheel"}).major == 18
    assert find_binaries({"HEADRACE_POSTGRES_BINARIES": "wheel"}, major=16).major == 16


async def test_the_server_is_of_the_binaries_that_were_asked_for(postgres: Server):
    wanted = find_binaries(server_environ(postgres.attachment.place.folder))
    assert str(await answer(postgres.dsn("postgres"), "SHOW server_version")).startswith(wanted.version)


async def test_two_processes_that_start_at_once_share_a_server_and_its_end_comes_with_the_last_kill_9(home: Path):
    with client(home) as (first, server, keeper), client(home) as (second, *same):
        assert same == [server, keeper]
        first.kill()
        first.wait()
        dsn = read_dsn(home)
        await asyncio.sleep(0.4)  # longer than a keeper waits for the next client
        assert await answer(dsn, "SELECT 1") == 1
        second.kill()
        until_gone(server, keeper)


def read_dsn(home: Path) -> str:
    place = place_of(home, server_environ(home))
    password = (place.folder / "password").read_text()
    return f"postgresql://headrace:{password}@/headrace?host={place.runtime}"


async def test_a_server_that_was_killed_is_started_again_and_keeps_what_was_committed(home: Path):
    with held(home) as attachment:
        await answer(attachment.dsn(), "CREATE TABLE kept AS SELECT 7 AS n")
        os.kill(attachment.pid, signal.SIGKILL)
        until_gone(attachment.pid)
        assert await answer_in_time(attachment.dsn(), "SELECT n FROM kept") == 7


async def test_an_open_database_comes_back_after_kill_9_of_the_keeper(home: Path):
    async with open_database(home, server_environ(home)) as database:
        before = database.attachment
        await database.execute("CREATE TABLE kept AS SELECT 7 AS n")
        for _ in range(2):
            keeper = keeper_pid(home)
            os.kill(keeper, signal.SIGKILL)
            until_gone(keeper)
            async with asyncio.timeout(20):
                while not await works(database):
                    await asyncio.sleep(0.05)
                while keeper_pid(home) in (None, keeper):
                    await asyncio.sleep(0.05)
        last = keeper_pid(home)
        assert await database.retrying(lambda: database.fetchval("SELECT n FROM kept")) == 7
    until_gone(before.pid, before.keeper_pid, last)


async def works(database) -> bool:
    try:
        return await database.fetchval("SELECT n FROM kept") == 7
    except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError):
        return False


def keeper_pid(home: Path) -> int | None:
    """The keeper of a home, asked as a client asks; None while there is none."""
    try:
        with_keeper = embedded._connect(place_of(home, server_environ(home)))
    except StoreError:
        return None
    if with_keeper is None:
        return None
    with with_keeper:
        answer = embedded._answer(with_keeper, time.monotonic() + 20)
    return answer["keeper"] if answer else None


async def test_a_cancelled_start_leaves_no_server_behind(home: Path):
    starting = asyncio.create_task(attached(home, server_environ(home)))
    place = place_of(home, server_environ(home))
    async with asyncio.timeout(20):
        while not (place.folder / "password").exists():
            await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(30):
        while not (place.data / "PG_VERSION").exists() or place.runtime.exists():
            await asyncio.sleep(0.02)
    assert not (place.data / "postmaster.pid").exists()


def machine_binaries() -> Binaries | None:
    try:
        return find_binaries({**os.environ, "HEADRACE_POSTGRES_BINARIES": "machine"})
    except StoreError:
        return None


@pytest.mark.skipif(machine_binaries() is None, reason="this machine has no Postgres 15 to 18 of its own")
async def test_the_postgres_of_the_machine_serves_too_and_its_data_is_not_given_to_another_version(home: Path):
    with held(home, "machine") as attachment:
        major = str(await answer(attachment.dsn(), "SHOW server_version")).split(".")[0]
        async with open_database(home, {"HEADRACE_DATABASE_URL": attachment.dsn()}) as database:
            assert await database.fetchval("SELECT count(*) FROM headrace.run") == 0
    if major == "15":
        with pytest.raises(OtherMajorVersion, match="made by Postgres 15"):
            attach(home, server_environ(home, "wheel"))


def test_a_folder_without_binaries_is_told(home: Path):
    with pytest.raises(PostgresNotFound, match="HEADRACE_POSTGRES_BINARIES"):
        attach(home, server_environ(home, str(home)))


def test_a_folder_that_somebody_else_put_in_the_place_of_the_sockets_is_not_entered(home: Path):
    environ = server_environ(home)
    place = place_of(home, environ)
    place.runtime.mkdir(mode=0o755)
    place.runtime.chmod(0o755)
    try:
        with pytest.raises(StoreError, match="mode 0700"):
            attach(home, environ)
    finally:
        place.runtime.rmdir()
