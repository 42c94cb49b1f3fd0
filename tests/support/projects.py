"""Small projects for tests, written to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

LOADER = "@custom\ndef load(*args, **kwargs):\n    return {body}\n"


def write_project(root: Path) -> Path:
    """An empty project."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.yaml").write_text("project_type: standalone\n")
    (root / "io_config.yaml").write_text("default: {}\n")
    return root


def write_pipeline(
    root: Path,
    uuid: str,
    blocks: Mapping[str, Sequence[str]],
    sources: Mapping[str, str] | None = None,
    *,
    types: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    block_options: Mapping[str, Mapping[str, Any]] | None = None,
    default: str = "@custom\ndef body(*args, **kwargs):\n    return 1\n",
) -> Path:
    """A pipeline of Python blocks: uuid to upstream uuids; sources by uuid, `default` for those not named."""
    folder = root / "pipelines" / uuid
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for block, upstream in blocks.items():
        more = dict((block_options or {}).get(block, {}))
        listed.append(
            {
                "uuid": block,
                "name": block,
                "type": (types or {}).get(block, "custom"),
                "language": "python",
                "upstream_blocks": list(upstream),
                **more,
            }
        )
        (folder / f"{block}.py").write_text((sources or {}).get(block, default))
    value = {"uuid": uuid, "name": uuid, "type": "python", "blocks": listed, **(options or {})}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    return folder
