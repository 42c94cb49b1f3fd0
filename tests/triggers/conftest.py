"""A project with one pipeline of two blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.projects import write_pipeline, write_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_project(tmp_path)
    write_pipeline(tmp_path, "orders", {"load": [], "keep": ["load"]})
    return tmp_path
