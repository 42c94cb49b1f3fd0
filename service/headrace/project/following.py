"""A project as its files are at each moment, read again only where one of them has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.domain.pipeline import Pipeline
from headrace.project.building import Reading, build_pipeline
from headrace.project.reading import SETTINGS, Project, pipeline_of, pipeline_uuids, read_pipeline, read_project

Stamp = tuple[int, int, int, int] | None
"""What changes with a file: its times of content and of name in ns, its size and its inode; None where it is not."""


TICK_NS = 20_000_000
"""File systems tell times in steps of up to so many ns: a file changed within one may look unchanged."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A pipeline that was read, the project that it was read with, and the files that this depended on."""

    reading: Reading
    project: Project
    stamps: Mapping[str, Stamp]


@dataclass
class FollowedProject:
    """The project in a folder. What it gives is the same value, not only an equal one, until a file changes.

    May be used from several threads: at worst a file is read twice.
    """

    root: Path
    environ: Mapping[str, str]
    _project: tuple[Project, Mapping[str, Stamp]] | None = None
    _pipelines: dict[str, _Kept] = field(default_factory=dict)

    def project(self) -> Project:
        """The project with its settings as they are now. Raises ProjectFault."""
        kept, stamps = self._project, self._stamps((SETTINGS, ".env"))
        if kept is not None and kept[1] == stamps:
            return kept[0]
        began = time.time_ns()
        project = read_project(self.root, self.environ)
        self._project = (project, stamps) if _is_older(stamps, began - TICK_NS) else None
        return project

    def pipeline(self, uuid: str) -> Pipeline:
        """A pipeline as its files are now. Raises ProjectFault with all errors."""
        project = self.project()
        kept = self._pipelines.get(uuid)
        if kept is None or kept.project is not project or kept.stamps != self._stamps(kept.stamps):
            kept = self._read(project, uuid)
        return pipeline_of(kept.reading)

    def _read(self, project: Project, uuid: str) -> _Kept:
        if uuid not in pipeline_uuids(self.root):
            read_pipeline(project, uuid)  # raises, and tells which there are
        began = time.time_ns()
        reading = build_pipeline(self.root, uuid, project.defaults)
        kept = _Kept(reading, project, self._stamps((reading.file, *reading.places)))
        if _is_older(kept.stamps, began - TICK_NS):
            self._pipelines[uuid] = kept
        else:
            self._pipelines.pop(uuid, None)
        return kept

    def _stamps(self, places: Iterable[str]) -> dict[str, Stamp]:
        return {place: _stamp(self.root, place) for place in places}


def _is_older(stamps: Mapping[str, Stamp], moment: int) -> bool:
    """Whether no file changed after a moment, so that what was read then is what the stamps are of."""
    return all(stamp is None or max(stamp[0], stamp[1]) < moment for stamp in stamps.values())


def _stamp(root: Path, place: str) -> Stamp:
    try:
        found = os.stat(os.path.join(root, place))
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
