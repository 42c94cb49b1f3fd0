"""`headrace tokens`: a token is printed once, works, is listed without its text, and ends when it is revoked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from headrace.api.auth import digest_of
from headrace.domain.scopes import Scope
from headrace.store.database import Database
from headrace.store.tokens import use_token

from tests.support.projects import write_project


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_project(tmp_path / "shop")


async def headrace(shop: Path, database_url: str, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace", "tokens", *words, cwd=shop,
        env={**os.environ, "HEADRACE_DATABASE_URL": database_url, "COLUMNS": "160"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_token_is_made_listed_and_revoked(shop: Path, database_url: str, database: Database):
    code, out, err = await headrace(shop, database_url, "create", "ci", "--scope", "run", "--scope", "edit")
    assert (code, err) == (0, "Token 1 allows edit, run. It is not shown again.\n")
    text = out.strip()
    bearer = await use_token(database, digest_of(text))
    assert bearer is not None
    assert (bearer.name, bearer.scopes) == ("ci", {Scope.RUN, Scope.EDIT})
    code, out, _ = await headrace(shop, database_url)
    assert code == 0
    assert "ci" in out
    assert text not in out
    assert (await headrace(shop, database_url, "revoke", "1"))[0] == 0
    assert await use_token(database, digest_of(text)) is None
    assert "revoked" in (await headrace(shop, database_url))[1]


async def test_a_token_for_some_days_ends_by_itself(shop: Path, database_url: str):
    _, out, _ = await headrace(shop, database_url, "create", "short", "--days", "2", "--json")
    assert json.loads(out)["token"]["expires_at"] > json.loads(out)["token"]["created_at"]
    _, out, _ = await headrace(shop, database_url, "--json")
    assert [token["name"] for token in json.loads(out)] == ["short"]


async def test_a_name_in_use_and_a_token_that_is_not_there_are_told(shop: Path, database_url: str):
    await headrace(shop, database_url, "create", "ci")
    for words, told in ((("create", "ci"), "name-taken"), (("revoke", "9"), "unknown-token")):
        code, _, err = await headrace(shop, database_url, *words)
        assert code == 2
        assert told in err
    assert "no tokens" not in (await headrace(shop, database_url))[1]
