"""Everything that waits says why: the run, the block, at each moment that somebody may look."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from headrace.domain.statuses import RUN_TERMINAL
from headrace.engine.views import RunView
from headrace.service import Headrace, open_headrace

from tests.support.projects import write_pipeline, write_project

FAILS = "@custom\ndef body(*args):\n    raise ConnectionError('no answer')\n"
SLOW = "import time\n@custom\ndef body(*args):\n    time.sleep(0.3)\n"
WAITING = ("initial", "queued")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def opened(root: Path, database_url: str, *, drive: bool = True):
    return open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}, drive=drive)


def unexplained(view: RunView) -> list[str]:
    """What waits in a run that has not ended, without a reason."""
    silent = [block.uuid for block in view.blocks if block.status in WAITING and not block.reason]
    return silent + ([f"run {view.id}"] if view.status == "initial" and not view.reason else [])


async def reasons(headrace: Headrace, pipeline: str) -> list[dict[str, str]]:
    """What each waiting block said, at each change of a run."""
    number, said = await headrace.create_run(pipeline), []
    async with asyncio.timeout(30):
        async for view in headrace.changes(number):
            if view.status in RUN_TERMINAL:
                return said
            assert unexplained(view) == []
            said.append({block.uuid: block.reason for block in view.blocks if block.status in WAITING})
            if any("retry 1 of 1" in (block.reason or "") for block in view.blocks):
                await headrace.cancel(number)
    raise AssertionError("the last change of a run is its end")


async def test_a_run_that_nobody_drives_waits_for_a_service(root, database_url):
    write_pipeline(root, "pair", {"a": (), "b": ("a",)})
    async with opened(root, database_url, drive=False) as headrace:
        view = await headrace.show(await headrace.create_run("pair"))
    assert view.reason == "waiting for a service to claim it"
    assert [block.reason for block in view.blocks] == ["waiting for its run to begin", "waiting for a"]


async def test_a_block_waits_for_the_blocks_above_it_by_name(root, database_url):
    write_pipeline(root, "join", {"a": (), "b": (), "c": ("a", "b")}, {"b": SLOW})
    async with opened(root, database_url) as headrace:
        said = await reasons(headrace, "join")
    assert {"c": "waiting for b"} in said


async def test_a_block_that_a_limit_holds_back_names_the_limit(root, database_url):
    limits = {"concurrency_config": {"block_run_limit": 1}}
    write_pipeline(root, "narrow", {"a": (), "b": ()}, default=SLOW, options=limits)
    async with opened(root, database_url) as headrace:
        said = await reasons(headrace, "narrow")
    told = "waiting for a free worker (at most 1 blocks of a run at once)"
    assert {"b": told} in said or {"a": told} in said


async def test_a_block_that_is_to_be_tried_again_says_when(root, database_url):
    retry = {"retry_config": {"retries": 1, "delay": 60, "max_delay": 60}}
    write_pipeline(root, "again", {"a": (), "b": ("a",)}, {"a": FAILS}, options=retry)
    async with opened(root, database_url) as headrace:
        said = await reasons(headrace, "again")
    assert said[-1]["a"].startswith("attempt 1 failed; retry 1 of 1 at 20")
    assert said[-1]["b"] == "waiting for a"
