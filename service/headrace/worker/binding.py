"""A worker's tie to one project: import paths, working folder, and fresh modules after the project's files changed."""

from __future__ import annotations

import importlib
import os
import sys
import time
from types import ModuleType

from headrace.blocks import context

Stamp = tuple[int, int, int, int]
"""What changes with a file: its times of content and of name in ns, its size and its inode."""
UNKNOWN: Stamp = (0, 0, 0, 0)
TICK_NS = 20_000_000
"""File systems tell times in steps of up to so many ns."""


class Binding:
    """Binds this process to a project at its first call and drops the project's modules once one of them is edited."""

    def __init__(self) -> None:
        self._project = ""
        self._prefix = ""
        self._seen = set(sys.modules)
        """Names of modules already looked at; what the template imported is never the project's."""
        self._stamps: dict[str, Stamp | None] = {}
        """Name of each imported module of the project to its file's stamp; None without a file."""
        self._bound_at = 0

    def bind(self, project: str) -> None:
        """Make `project`, an absolute path, the one that imports, relative paths and the blocks' context mean."""
        self._bound_at = time.time_ns()
        if project == self._project:
            os.chdir(project)  # the block before may have gone elsewhere
            self._drop_edited()
            return
        self._unbind()
        self._project = project
        self._prefix = os.path.join(os.path.realpath(project), "")
        sys.path[:0] = [project]
        sys.path.append(os.path.dirname(project.rstrip("/")))  # Mage: `from <folder of the project>.utils.x import y`
        os.chdir(project)
        context.set_project(project)

    def _unbind(self) -> None:
        """Forget the project before: only a worker that is used without a pool ever sees two."""
        if not self._project:
            return
        self._find_modules()
        self._drop_modules()
        for path in (self._project, os.path.dirname(self._project.rstrip("/"))):
            if path in sys.path:
                sys.path.remove(path)

    def note_imports(self) -> None:
        """Remember the files of the project's modules that the last call imported."""
        if len(sys.modules) != len(self._seen):
            self._find_modules()

    def _find_modules(self) -> None:
        for name in sys.modules.keys() - self._seen:
            module = sys.modules[name]
            path = _place_of(module) if isinstance(module, ModuleType) else None
            if path is not None and os.path.join(os.path.realpath(path), "").startswith(self._prefix):
                self._stamps[name] = self._stamp_of_import(path) if module.__dict__.get("__file__") else None
        self._seen = set(sys.modules)

    def _stamp_of_import(self, path: str) -> Stamp:
        """The stamp of a file that was imported since `bind`; no file's where it may have changed after its import."""
        stamp = _stamp(path)
        if stamp is None or max(stamp[:2]) > self._bound_at - TICK_NS:
            return UNKNOWN
        return stamp

    def _drop_edited(self) -> None:
        for name, stamp in self._stamps.items():
            module = sys.modules.get(name)
            if stamp is not None and (module is None or _stamp(module.__dict__["__file__"]) != stamp):
                self._drop_modules()
                return

    def _drop_modules(self) -> None:
        """Drop all modules of the project, not the edited one alone: others hold names from it."""
        for name in self._stamps:
            sys.modules.pop(name, None)
            self._seen.discard(name)
        self._stamps.clear()
        importlib.invalidate_caches()


def _place_of(module: ModuleType) -> str | None:
    path = module.__dict__.get("__file__")
    if isinstance(path, str):
        return path
    folders = module.__dict__.get("__path__")
    return next(iter(folders), None) if folders is not None else None


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
