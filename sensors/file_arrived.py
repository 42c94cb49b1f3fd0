"""Tells of files that arrive: those that match `path` and have something in them.

As a block of a pipeline it waits until there is one. As the sensor of a trigger it makes a run for each file, once for
each version of it, since two events with the same key are one.
"""

from pathlib import Path

from headrace import Event, sensor


@sensor
def file_arrived(*args, path, repo_path, **kwargs):
    """`path` may be a pattern such as `inbox/*.csv`, relative to the project's folder."""
    pattern = Path(repo_path, path)
    found = [file for file in sorted(pattern.parent.glob(pattern.name)) if file.is_file() and file.stat().st_size > 0]
    print(f"{len(found)} files match {pattern}")
    return [Event({"path": str(file), "name": file.name}, key=f"{file}@{file.stat().st_mtime_ns}") for file in found]
