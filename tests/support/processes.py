"""Which processes are whose children."""

from __future__ import annotations

from pathlib import Path


def grandchildren(pid: int) -> list[int]:
    """Pids of a service's workers: children of the template, which is a child of the service."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    return [below for child in parents.get(pid, []) for below in parents.get(child, [])]
