"""The token that services make for themselves: those that start at once for one project agree on it."""

from __future__ import annotations

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from headrace.api.auth import digest_of, new_token
from headrace.api.own_token import OwnToken, own_token, recorded_token, write_token
from headrace.store.database import Database

SERVICES = 8


def all_at_once(paths: list[Path], *, but: str | None = None) -> list[OwnToken]:
    """What so many services get that ask at the same moment."""
    together = Barrier(SERVICES)

    def ask() -> OwnToken:
        together.wait()
        return own_token(paths, but=but)

    with ThreadPoolExecutor(SERVICES) as pool:
        return [asked.result() for asked in [pool.submit(ask) for _ in range(SERVICES)]]


async def live_names(database: Database) -> list[str]:
    return [row["name"] for row in await database.fetch("SELECT name FROM headrace.token WHERE revoked_at IS NULL")]


def test_services_that_start_at_once_make_one_token(tmp_path: Path):
    paths = [tmp_path / "one" / ".headrace" / "token", tmp_path / "two" / ".headrace" / "token"]
    tokens = all_at_once(paths)
    assert {path.read_text().strip() for path in paths} == {token.text for token in tokens}
    assert len({token.text for token in tokens}) == 1
    assert [token.is_new for token in tokens].count(True) == 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*/.headrace/token*")} == {0o600}


def test_a_token_that_will_not_do_is_replaced_once(tmp_path: Path):
    path = tmp_path / ".headrace" / "token"
    write_token(path, refused := new_token())
    tokens = all_at_once([path], but=refused)
    assert {token.text for token in tokens} == {path.read_text().strip()}
    assert refused not in {token.text for token in tokens}


async def test_tokens_of_one_name_that_are_recorded_at_once_leave_one_alive(database: Database, tmp_path: Path):
    path = tmp_path / "token"
    for _ in range(5):
        given = [OwnToken(new_token(), path, is_new=True) for _ in range(SERVICES)]
        kept = await asyncio.gather(*(recorded_token(database, token, [path]) for token in given))
        assert kept == given
        assert len(await live_names(database)) == 1


async def test_one_that_was_revoked_is_replaced_by_one_that_all_share(database: Database, tmp_path: Path):
    path = tmp_path / "token"
    token = await recorded_token(database, own_token([path]), [path])
    await database.execute("UPDATE headrace.token SET revoked_at = now()")
    kept = await asyncio.gather(*(recorded_token(database, token, [path]) for _ in range(SERVICES)))
    assert {each.text for each in kept} == {path.read_text().strip()}
    row = await database.fetchrow("SELECT sha256 FROM headrace.token WHERE revoked_at IS NULL")
    assert row["sha256"] == digest_of(kept[0].text)


async def test_whoever_comes_late_with_a_revoked_token_does_not_end_its_successor(database: Database, tmp_path: Path):
    path = tmp_path / "token"
    revoked = await recorded_token(database, own_token([path]), [path])
    await database.execute("UPDATE headrace.token SET revoked_at = now()")
    successor = await recorded_token(database, revoked, [path])
    assert await recorded_token(database, revoked, [path]) == OwnToken(successor.text, path, is_new=False)
    assert len(await live_names(database)) == 1
