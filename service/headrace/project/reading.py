"""Reads a project's folder: its settings, and its pipelines as graphs with pinned sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.blocks.templating import TemplateError, render
from headrace.domain.pipeline import Pipeline
from headrace.project.dotenv import read_environ
from headrace.project.faults import Fault, ProjectFault
from headrace.project.pipeline_file import build_pipeline
from headrace.project.yaml_file import YamlFile, parse, read_text


class NoProject(ProjectFault):
    """There is no project in the folder."""

    code = "no-project"


@dataclass(frozen=True)
class Project:
    """A project's folder and settings. `environ` is the process's environment with what .env adds."""

    root: Path
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    def pipeline_uuids(self) -> list[str]:
        """Every pipeline that has a metadata.yaml, readable or not, in order of names."""
        base = self.root / "pipelines"
        return sorted(path.parent.relative_to(base).as_posix() for path in base.rglob("metadata.yaml"))


def read_project(root: Path, environ: Mapping[str, str] | None = None) -> Project:
    """The project in a folder. Raises NoProject, or ProjectFault for a metadata.yaml that cannot be used."""
    if not (root / "metadata.yaml").is_file():
        raise NoProject(
            [Fault(str(root), None, "", "there is no project here (no metadata.yaml).", "`headrace init` makes one.")]
        )
    merged = read_environ(root, os.environ if environ is None else environ)
    file = _rendered(root / "metadata.yaml", "metadata.yaml", merged)
    name = str(file.value.get("project_name") or root.resolve().name)
    return Project(root, name, file.value, merged)


def _rendered(path: Path, file: str, environ: Mapping[str, str]) -> YamlFile:
    try:
        text = render(read_text(path, file), environ=environ)
    except TemplateError as error:
        raise ProjectFault([Fault(file, error.line, "", error.message, error.remedy)]) from error
    return parse(text, file)


def read_pipeline(project: Project, uuid: str) -> Pipeline:
    """A pipeline as its files are now, its sources pinned. Raises ProjectFault with every fault that was found."""
    file = f"pipelines/{uuid}/metadata.yaml"
    path = (project.root / file).resolve()
    if not path.is_relative_to((project.root / "pipelines").resolve()) or not path.is_file():
        known = ", ".join(project.pipeline_uuids()) or "none"
        raise ProjectFault([Fault(file, None, "", f"there is no pipeline {uuid}.", f"The project has: {known}.")])
    return build_pipeline(project.root, uuid, parse(read_text(path, file), file), project.settings)
