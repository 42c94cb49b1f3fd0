"""The commands on backfills and events, as processes on a real project."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from headrace.store.database import Database

from tests.support.projects import write_pipeline, write_project
from tests.support.triggers import trigger_stack, webhook, write_triggers


class Shell:
    """Runs `headrace` on one project."""

    def __init__(self, root: Path, database_url: str) -> None:
        self.root = root
        self.environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url, "TZ": "UTC", "COLUMNS": "120"}

    async def __call__(self, *words: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace", *words, cwd=self.root, env=self.environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, err.decode()
        return (out if code == 0 else err).decode()

    async def json(self, *words: str) -> Any:
        return json.loads(await self(*words, "--json"))


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    write_project(tmp_path)
    write_pipeline(tmp_path, "orders", {"load": []})
    return Shell(tmp_path, database_url)


RANGE = ("--start", "2026-01-01", "--end", "2026-01-03")


async def test_what_the_preview_shows_is_what_is_made_and_can_be_steered(shell: Shell) -> None:
    previewed = await shell.json("backfill", "orders", *RANGE, "--preview")
    assert previewed["backfill"] is None
    made = await shell.json("backfill", "orders", *RANGE, "--var", "n=3")
    assert made == {"backfill": 1, "intervals": previewed["intervals"]}
    assert [item["start"][:10] for item in made["intervals"]] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert "3 waiting" in await shell("backfills")
    assert "is paused" in await shell("backfills", "pause", "1")
    assert "4 at once, 2 s apart" in await shell("backfills", "change", "1", "--concurrency", "4", "--pace", "2")
    assert "is running" in await shell("backfills", "resume", "1")
    assert "is cancelled: 3 cancelled" in await shell("backfills", "cancel", "1")
    shown = await shell.json("backfills", "show", "1")
    assert (shown["backfill"]["status"], shown["backfill"]["variables"]) == ("cancelled", {"n": 3})
    assert "backfill-cannot" in await shell("backfills", "cancel", "1", code=2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("backfill", "nowhere", *RANGE), "no pipeline nowhere"),
        (("backfill", "orders", *RANGE, "--interval", "fortnight"), "fortnight"),
        (("backfill", "orders", *RANGE, "--timezone", "Mars/Base"), "Mars/Base"),
        (("backfill", "orders", *RANGE, "--reprocess", "some"), "missing, failed, all"),
        (("backfill", "orders", "--start", "2026-01-02", "--end", "2026-01-01"), "before it begins"),
        (("backfill", "orders", *RANGE, "--var", "oops"), "K=V"),
        (("backfills", "show", "9"), "no backfill 9"),
        (("events", "show", "9"), "no event 9"),
        (("events", "replay", "9"), "no event 9"),
    ],
)
async def test_what_cannot_be_done_is_told(shell: Shell, words: tuple[str, ...], told: str) -> None:
    assert told in await shell(*words, code=2)


async def test_events_are_listed_shown_and_taken_in_again(shell: Shell, database: Database) -> None:
    write_triggers(shell.root, "orders", [webhook("hook", filter="event.n > 1")])
    async with trigger_stack(database, shell.root) as stack:
        await stack.acceptor.accept(stack.event("webhook:hook", "a", {"n": 1}))
        await stack.acceptor.accept(stack.event("webhook:none", "b", {"n": 5}))
    listed = await shell("events")
    assert "filtered (orders/hook)" in listed
    assert "no match" in listed
    assert "the filter does not hold: event.n > 1" in await shell("events", "show", "1")
    (only,) = await shell.json("events", "--fate", "filtered")
    assert only["key"] == "a"
    write_triggers(shell.root, "orders", [webhook("hook")])
    assert "event 1 was taken in again as event 3: run 1" in await shell("events", "replay", "1")
    assert [event["replay_of"] for event in await shell.json("events")] == [1, None, None]


async def test_gaps_of_a_schedule_are_shown_with_an_exit_code_and_filled(shell: Shell) -> None:
    daily = {"name": "daily", "schedule_type": "time", "schedule_interval": "@daily", "end_time": "2026-01-04"}
    write_triggers(shell.root, "orders", [{**daily, "start_time": "2026-01-02"}])
    words = ("schedule", "gaps", "daily", "--since", "2026-01-01")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace", *words, cwd=shell.root, env=shell.environ, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 1
    assert out.decode().splitlines()[:3] == [f"2026-01-0{day}T00:00:00+00:00  no run" for day in (2, 3, 4)]
    filled = await shell.json(*words, "--fill")
    assert (len(filled["gaps"]), filled["backfill"]) == (3, 1)
    assert "3 waiting" in await shell("backfills", "show", "1")
