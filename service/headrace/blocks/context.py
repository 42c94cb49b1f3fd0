"""What a block may ask about where it runs. The worker sets it; outside a worker the current folder is the project."""

from __future__ import annotations

import os

_project: list[str] = []


def set_project(path: str) -> None:
    """Tell which project's blocks run in this process; `path` is absolute."""
    _project[:] = [path]


def get_repo_path() -> str:
    """The absolute path of the project's folder."""
    return _project[0] if _project else os.getcwd()
