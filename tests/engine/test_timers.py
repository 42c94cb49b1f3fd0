"""What comes due while a step is being recorded is not slept through."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest
from headrace.service import open_headrace
from headrace.store.runs import RunStep

from tests.support.projects import write_pipeline, write_project

FAILS_ONCE = (
    "@custom\ndef body(*args, **kwargs):\n    assert kwargs['retry']['attempts'] > 1, 'no answer'\n    return 1\n"
)
SHORT = "import time\n@custom\ndef body(*args):\n    time.sleep(0.1)\n    return 1\n"
SEEN_SECOND = "from pathlib import Path\n@sensor(interval=0.3)\ndef look(*args, **kwargs):\n    seen = Path(kwargs['repo_path'], 'seen')\n    if seen.exists():\n        return True\n    seen.touch()\n    return False\n"


@pytest.mark.parametrize("waiting", ["retry", "sensor"])
async def test_a_moment_that_passes_while_another_block_s_end_is_recorded_is_kept(tmp_path, database_url, waiting):
    root = write_project(tmp_path / "project")
    write_pipeline(
        root, "pair", {"late": (), "other": ()}, {"late": FAILS_ONCE if waiting == "retry" else SEEN_SECOND, "other": SHORT},
        types={"late": "custom" if waiting == "retry" else "sensor"},
        options={"retry_config": {"retries": 1, "delay": 0.3, "exponential_backoff": False}},
    )  # fmt: skip
    async with open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}) as headrace:
        assert headrace.engine is not None
        write, due = headrace.engine.writer.write, datetime.now(UTC)

        async def late_in_answering(step: RunStep) -> bool:
            """Answer that the other block's end is committed once the first one's moment has passed."""
            nonlocal due
            due = max([due, *(move.due for move in step.moves if move.due is not None)])
            committed = await write(step)
            if any(move.block == "other" and move.status == "completed" for move in step.moves):
                await asyncio.sleep((due + timedelta(seconds=0.1) - datetime.now(UTC)).total_seconds())
            return committed

        headrace.engine.writer.write = late_in_answering
        async with asyncio.timeout(20):
            view = await headrace.finished(await headrace.create_run("pair"))
    assert view.status == "completed", view.error
    assert view.blocks[0].attempt == (2 if waiting == "retry" else 1)


async def test_a_sensor_s_time_limit_holds_for_all_its_looks_together(tmp_path, database_url):
    root = write_project(tmp_path / "project")
    source = "from pathlib import Path\n@sensor(interval=0.1)\ndef look(*args, **kwargs):\n    print('looked')\n    return False\n"
    write_pipeline(
        root, "waits", {"never": ()}, {"never": source}, types={"never": "sensor"}, block_options={"never": {"timeout": 1}}
    )  # fmt: skip
    async with open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}) as headrace:
        async with asyncio.timeout(30):
            view = await headrace.finished(await headrace.create_run("waits"))
        lines = [line async for line in headrace.logs(view.id, "never")]
    assert (view.status, view.blocks[0].attempt) == ("failed", 1)
    assert "the sensor saw nothing within its limit of 1 s" in (view.reason or "")
    assert len(lines) > 1
