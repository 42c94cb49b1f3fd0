"""Reads a project's folder: its settings, its environment, its pipelines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.blocks.marks import KeptEnviron, mark_unset, missing, restored
from headrace.blocks.safe_yaml import Document, YamlFault, read_yaml
from headrace.blocks.secrets import secrets_in
from headrace.blocks.templating import TemplateError, UnsetVariable, render
from headrace.domain.limits import RunLimits
from headrace.domain.pipeline import Isolation, Limits, Pipeline
from headrace.domain.retention import ProjectRetention, Retention
from headrace.domain.retry import RetryPolicy
from headrace.domain.suggesting import suggestion
from headrace.project import policies
from headrace.project.blocks import FaultList
from headrace.project.building import Defaults, Reading, build_pipeline
from headrace.project.dotenv import read_dotenv
from headrace.project.faults import Fault, NoProject, ProjectFault, UnknownPipeline, errors_of
from headrace.project.files import UnreadableFile, inside, read_text
from headrace.project.retention import retention_of, settings_retention

SETTINGS = "metadata.yaml"
READ = frozenset({"name", "retry_config", "concurrency_config", "isolation"})
"""The project's settings that Headrace reads; others are kept as they are."""


@dataclass(frozen=True)
class Project:
    """A project on disk. `environ` is the process's environment, with what only its .env file sets added."""

    root: Path
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        """What was found in each folder of pipelines/, by uuid, read once: read the project again for newer files."""
        return {uuid: build_pipeline(self.root, uuid, self.defaults) for uuid in pipeline_uuids(self.root)}

    def pipeline_uuids(self) -> tuple[str, ...]:
        """Every pipeline that has a metadata.yaml now, readable or not, in alphabetical order."""
        return pipeline_uuids(self.root)

    @property
    def retention(self) -> ProjectRetention:
        """How long what the project recorded is kept."""
        own = {uuid: reading.retention for uuid, reading in self.readings.items() if reading.retention is not None}
        return ProjectRetention(self.defaults.retention, own)

    @property
    def pipelines(self) -> Mapping[str, Pipeline | tuple[Fault, ...]]:
        """Each pipeline by uuid, or the errors that keep it from running."""
        return {uuid: _pipeline_or_errors(reading) for uuid, reading in self.readings.items()}


def read_project(root: Path, environ: Mapping[str, str] = os.environ) -> Project:
    """The project in a folder. Raises ProjectFault for its own settings; a broken pipeline is no reason to."""
    project, faults = survey_project(root, environ)
    errors = errors_of(faults)
    if errors:
        kind = ProjectFault if (root / SETTINGS).is_file() else NoProject
        raise kind(f"The project in {root}", errors)
    return project


def read_pipeline(project: Project, uuid: str) -> Pipeline:
    """A pipeline as its files are now, its sources pinned. Raises UnknownPipeline, or ProjectFault with all errors."""
    known = pipeline_uuids(project.root)
    if uuid not in known:
        raise UnknownPipeline(
            f"There is no pipeline {uuid} in {project.root}.", remedy=suggestion(uuid, known, "Pipelines here")
        )
    return pipeline_of(build_pipeline(project.root, uuid, project.defaults))


def pipeline_of(reading: Reading) -> Pipeline:
    """The pipeline that was read. Raises ProjectFault with the errors that keep it from running."""
    found = _pipeline_or_errors(reading)
    if isinstance(found, Pipeline):
        return found
    raise ProjectFault(f"Pipeline {reading.uuid}", found)


def pipeline_uuids(root: Path) -> tuple[str, ...]:
    """The folders of pipelines/ that hold a metadata.yaml, in alphabetical order."""
    folder = root / "pipelines"
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in folder.glob(f"*/{SETTINGS}")))


def survey_project(root: Path, environ: Mapping[str, str]) -> tuple[Project, tuple[Fault, ...]]:
    """The project as far as it can be read, and all faults of its own files; never raises for what they hold."""
    added, faults = _dotenv(root)
    given = {**added, **environ}
    settings = _settings(root, given)
    if isinstance(settings, Fault):
        return Project(root, root.resolve().name, {}, given), (*faults, settings)
    listed = FaultList(SETTINGS, settings)
    values = settings.value if isinstance(settings.value, dict) else {}
    if settings.value is not None and not isinstance(settings.value, dict):
        listed.add((), "It is not a mapping.", "Write one `key: value` a line.")
    values = _set_values(values, listed)
    defaults = _defaults(values, listed)
    name = str(values.get("name") or root.resolve().name)
    return Project(root, name, values, given, defaults), (*faults, *listed.found)


def _pipeline_or_errors(reading: Reading) -> Pipeline | tuple[Fault, ...]:
    errors = errors_of(reading.faults)
    return errors if errors or reading.pipeline is None else reading.pipeline


def _dotenv(root: Path) -> tuple[Mapping[str, str], tuple[Fault, ...]]:
    path = root / ".env"
    if not path.is_file():
        return {}, ()
    try:
        return read_dotenv(read_text(root, inside(root, ".env")))
    except UnreadableFile as error:
        return {}, (Fault(".env", None, "", error.message, error.remedy),)


def _settings(root: Path, environ: Mapping[str, str]) -> Document | Fault:
    if not (root / SETTINGS).is_file():
        told = f"{root} is not a project: it has no {SETTINGS}."
        return Fault(SETTINGS, None, "", told, "Name a project's folder, or make one with `headrace init`.")
    try:
        text = read_text(root, inside(root, SETTINGS))
        return read_yaml(render(text, environ=KeptEnviron(environ), secret=secrets_in(environ), unset=mark_unset))
    except UnreadableFile as error:
        return Fault(SETTINGS, None, "", error.message, error.remedy)
    except (TemplateError, YamlFault) as error:
        return Fault(SETTINGS, error.line, getattr(error, "name", ""), error.message, error.remedy)


def _set_values(values: Mapping[str, Any], faults: FaultList) -> dict[str, Any]:
    """The settings without those that need a variable which is not set: a fault only where Headrace reads them."""
    found = {}
    for key, value in values.items():
        lacking = list(_lacking((key,), value))
        if not lacking:
            found[key] = restored(value)
        for place, name in lacking if key in READ else ():
            told = UnsetVariable(name)
            faults.add(place, told.message, told.remedy)
    return found


def _lacking(place: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where a variable that is not set is needed, and its name."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _lacking((*place, key), item)
        return
    for _, name in missing(value):
        yield place, name


def _defaults(values: Mapping[str, Any], faults: FaultList) -> Defaults:
    def refuser(section: str | None) -> policies.Refuse:
        def refuse(key: str, message: str, remedy: str) -> None:
            faults.add((key,) if section in (None, key) else (str(section), key), message, remedy)

        return refuse

    return Defaults(
        retry=policies.retry_policy(RetryPolicy(), values.get("retry_config"), refuser("retry_config")),
        limits=policies.limits(Limits(), values.get("concurrency_config"), refuser("concurrency_config")),
        run_limits=policies.run_limits(RunLimits(), values.get("concurrency_config"), refuser("concurrency_config")),
        pools=policies.pools(values.get("pools"), refuser("pools")),
        retention=retention_of(Retention(), settings_retention(values), refuser(None)),
        isolation=policies.isolation(values.get("isolation"), Isolation.PIPELINE, refuser(None)),
    )
