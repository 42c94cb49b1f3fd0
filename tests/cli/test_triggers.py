"""The commands on triggers: those of files and those that live in the database, which are switched and written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace.project.reading import read_project
from headrace.store.database import Database
from headrace.store.runs import keep_project
from headrace.triggers.given_triggers import keep_given, read_given

from tests.cli.test_backfills import Shell
from tests.support.projects import write_pipeline, write_project
from tests.support.triggers import webhook, write_triggers

NIGHTLY = {
    "name": "nightly",
    "schedule_type": "time",
    "schedule_interval": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "status": "active",
}


@pytest.fixture
async def shell(tmp_path: Path, database: Database, database_url: str) -> Shell:
    """A project with a trigger in a file, a broken one, and one that lives in the database."""
    write_project(tmp_path)
    write_pipeline(tmp_path, "orders", {"load": []})
    write_triggers(tmp_path, "orders", [webhook("paid"), {"name": "bad", "schedule_type": "webhook"}])
    project = await keep_project(database, str(tmp_path.resolve()), read_project(tmp_path).name)
    await keep_given(database, project, read_given(NIGHTLY, "orders", {}), NIGHTLY)
    return Shell(tmp_path, database_url)


def named(lines: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {line["name"]: (line["origin"], line["status"]) for line in lines}


async def test_all_triggers_are_listed_and_only_those_of_the_database_are_switched(shell: Shell) -> None:
    assert named(await shell.json("triggers")) == {
        "bad": ("file", "broken"),
        "nightly": ("api", "active"),
        "paid": ("file", "active"),
    }
    assert "schedule:orders/nightly" in await shell("triggers")
    assert "orders/nightly is inactive" in await shell("triggers", "disable", "nightly")
    assert named(await shell.json("triggers"))["nightly"] == ("api", "inactive")
    assert "is active" in await shell("triggers", "enable", "orders/nightly")
    assert "written in pipelines/orders/triggers.yaml" in await shell("triggers", "disable", "paid", code=2)
    assert "Did you mean nightly" in await shell("triggers", "disable", "nightli", code=2)
    exported = await shell("triggers", "export")
    assert yaml.safe_load(exported)["triggers"] == [NIGHTLY]
    assert "is removed" in await shell("triggers", "remove", "nightly")
    assert "nightly" not in named(await shell.json("triggers"))
    assert await shell("triggers", "export") == ""


async def test_the_slots_and_gaps_of_a_trigger_of_the_database_are_shown_like_those_of_a_file(shell: Shell) -> None:
    told = await shell.json("schedule", "preview", "nightly", "-n", "2", "--after", "2026-03-28")
    assert [slot["local"] for slot in told] == ["2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00"]
    assert await shell.json("schedule", "preview", "orders/nightly", "-n", "2", "--after", "2026-03-28") == told
    assert "There are no gaps" in await shell("schedule", "gaps", "nightly")
    assert "Did you mean nightly" in await shell("schedule", "preview", "nightlie", code=2)
    assert "listens to webhook:paid" in await shell("schedule", "preview", "paid", code=2)
