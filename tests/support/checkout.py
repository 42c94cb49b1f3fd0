"""The checkout that is tested: its root, and copies of the project that it carries."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ("metadata.yaml", "io_config.yaml", "dev.env", "pipelines", "sensors")
"""What of the checkout is the bundled project. A developer's own .env is no part of it."""


def copy_bundled(folder: Path) -> Path:
    """Copy the bundled project to a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder
