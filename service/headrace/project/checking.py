"""Checks a whole project without running anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.blocks.io.connecting import READ
from headrace.blocks.io_config import ConnectionFault, read_profile
from headrace.blocks.secrets import secrets_in
from headrace.blocks.templating import TemplateError, check_syntax
from headrace.domain.pipeline import BlockLanguage
from headrace.project.building import Reading
from headrace.project.faults import Fault, ProjectFault, Severity, errors_of
from headrace.project.files import UnreadableFile, read_text, relative
from headrace.project.reading import Project, survey_project
from headrace.project.sources import ProfileUse, check_source, parse_source
from headrace.project.sql_sources import check_sql
from headrace.project.triggers import read_triggers

__all__ = ["Fault", "ProjectFault", "Severity", "check_project", "errors_of"]

CONNECTIONS = "io_config.yaml"
SUPPLIED = tuple(f"POSTGRES_{part}" for part in ("HOST", "PORT", "USER", "PASSWORD", "DBNAME", "SCHEMA"))
"""Variables that the service gives to workers where the project's environment names no server of its own."""


def check_project(root: Path, environ: Mapping[str, str] = os.environ) -> list[Fault]:
    """Every fault of a project: settings, pipelines, sources, and the connection profiles that blocks use.

    Nothing is run. Where neither POSTGRES_HOST nor HEADRACE_DATABASE_URL is set, the variables in SUPPLIED count as
    set, since the service will set them for its own server.
    """
    project, faults = survey_project(root, environ)
    found = list(faults)
    uses: list[ProfileUse] = []
    for reading in project.readings.values():
        found.extend(reading.faults)
        for block_faults, block_uses in _block_checks(reading):
            found.extend(block_faults)
            uses.extend(block_uses)
        found.extend(_variable_faults(reading))
        found.extend(read_triggers(root, reading.uuid, project.environ).faults)
    found.extend(_sensor_faults(root))
    found.extend(_profile_faults(project, uses))
    return list(dict.fromkeys(found))


def _block_checks(reading: Reading) -> Iterator[tuple[list[Fault], list[ProfileUse]]]:
    if reading.pipeline is None:
        return
    entries = {(entry.section, entry.uuid): entry for entry in reading.entries}
    for section, blocks in (
        ("blocks", reading.pipeline.blocks),
        ("conditionals", reading.pipeline.conditionals),
        ("callbacks", reading.pipeline.callbacks),
    ):
        for block in blocks:
            entry = entries.get((section, block.uuid)) or entries.get(("blocks", block.uuid))
            if block.language is BlockLanguage.SQL and entry is not None:
                yield check_sql(reading, block, entry)
            else:
                yield check_source(block)


def _variable_faults(reading: Reading) -> Iterator[Fault]:
    """Text variables whose Jinja cannot be parsed; they are rendered when a block is called."""
    variables: Mapping[str, Any] = {} if reading.pipeline is None else reading.pipeline.variables
    for name, value in variables.items():
        if not isinstance(value, str) or "{{" not in value:
            continue
        try:
            check_syntax(value)
        except TemplateError as error:
            line = reading.document.line("variables", name)
            yield Fault(reading.file, line, name, f"Variable {name}: {error.message}", error.remedy)


def _sensor_faults(root: Path) -> Iterator[Fault]:
    for path in sorted((root / "sensors").glob("*.py")):
        file = relative(root, path)
        try:
            tree = parse_source(read_text(root, path), file)
        except UnreadableFile as error:
            yield Fault(file, None, "", error.message, error.remedy)
            continue
        if isinstance(tree, Fault):
            yield tree


def _profile_faults(project: Project, uses: list[ProfileUse]) -> Iterator[Fault]:
    environ = _with_supplied(project.environ)
    first = {use.profile: use for use in reversed(uses)}
    for name, use in sorted(first.items()):
        try:
            profile = read_profile(project.root / CONNECTIONS, name, environ, secrets_in(environ))
        except ConnectionFault as error:
            if error.line is None and error.key == name:
                yield Fault(use.file, use.line, name, error.told, error.remedy)
            else:
                yield _connection_fault(error)
            continue
        needed = READ.union(*(each.words for each in uses if each.profile == name))
        yield from (_connection_fault(error) for key, error in profile.lacking.items() if key in needed)


def _connection_fault(error: ConnectionFault) -> Fault:
    return Fault(CONNECTIONS, error.line, error.key, error.told, error.remedy)


def _with_supplied(environ: Mapping[str, str]) -> Mapping[str, str]:
    if "POSTGRES_HOST" in environ or "HEADRACE_DATABASE_URL" in environ:
        return environ
    return {**dict.fromkeys(SUPPLIED, "supplied"), **environ}
