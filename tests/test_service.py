"""How a project's Headrace is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace.service import open_headrace

from tests.support.projects import write_pipeline, write_project


@pytest.mark.parametrize("named", [True, False])
async def test_outputs_under_way_lie_in_headrace_home_where_one_is_named(
    tmp_path: Path, database_url: str, named: bool
):
    """The project's own folder may be read-only, as in an image."""
    root, home = write_project(tmp_path / "project"), tmp_path / "home"
    write_pipeline(root, "one", {"a": ()})
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url, "HEADRACE_HOME": str(home) if named else ""}
    async with open_headrace(root, environ=environ) as headrace:
        view = await headrace.finished(await headrace.create_run("one"))
        assert headrace.engine is not None
        assert headrace.engine.work_folder.is_relative_to(home if named else root / ".headrace")
    assert view.status == "completed"
    assert (root / ".headrace").exists() is not named
