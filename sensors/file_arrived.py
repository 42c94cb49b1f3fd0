"""Waits for a file: true once the pipeline's variable `path` names one that has something in it.

How often it looks is the block's `configuration: {poll_interval: 10}`, in seconds.
"""

from pathlib import Path

from headrace import sensor


@sensor
def file_arrived(*args, **kwargs) -> bool:
    """`path` may be a pattern such as `inbox/*.csv`, relative to the project's folder."""
    pattern = Path(kwargs["repo_path"], kwargs["path"])
    found = [path for path in pattern.parent.glob(pattern.name) if path.is_file() and path.stat().st_size > 0]
    print(f"{len(found)} files match {pattern}")
    return bool(found)
