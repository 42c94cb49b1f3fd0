"""Pipelines as their files are now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.api.fields import Given, Text
from headrace.api.projects import FaultView, ProjectQuery
from headrace.api.routes import Call, Route
from headrace.domain.pipeline import Block, Pipeline
from headrace.domain.scopes import Scope
from headrace.project.building import Reading
from headrace.project.faults import Severity, UnknownPipeline
from headrace.project.reading import Project, read_project


class PipelinePath(Given):
    """Which pipeline."""

    pipeline: Text


@dataclass(frozen=True, slots=True)
class PipelineSummary:
    """One line of a list of pipelines; a pipeline that is not `valid` cannot run, and its faults tell why."""

    project: str
    uuid: str
    name: str
    type: str
    valid: bool
    blocks: int


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block of a pipeline; `source` is the text of its file."""

    uuid: str
    name: str
    type: str
    language: str
    upstream: tuple[str, ...]
    configuration: Mapping[str, Any]
    timeout: float | None
    file: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class PipelineView:
    """A pipeline with its blocks, in the order of its file."""

    project: str
    uuid: str
    name: str
    type: str
    valid: bool
    faults: tuple[FaultView, ...]
    blocks: tuple[BlockView, ...]
    conditionals: tuple[BlockView, ...]
    callbacks: tuple[BlockView, ...]
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PipelineList:
    """Every pipeline, those that cannot be read too."""

    items: tuple[PipelineSummary, ...]


async def list_pipelines(call: Call, query: ProjectQuery) -> PipelineList:
    """List the pipelines of a project, or of all that are served."""
    served = call.served
    chosen = served.projects if query.project is None else {query.project: served.project(query.project)}
    served.opened  # noqa: B018 - raises while nothing is served
    read = await asyncio.to_thread(lambda: [(name, _fresh(each.project)) for name, each in sorted(chosen.items())])
    return PipelineList(tuple(summary for name, project in read for summary in _summaries(name, project)))


async def show_pipeline(call: Call, path: PipelinePath, query: ProjectQuery) -> PipelineView:
    """Show a pipeline: its blocks with their sources, and whatever keeps it from running."""
    headrace = call.served.project(query.project)
    reading = await asyncio.to_thread(lambda: _fresh(headrace.project).readings.get(path.pipeline))
    if reading is None:
        raise UnknownPipeline(
            f"There is no pipeline {path.pipeline}.", remedy="GET /api/v1/pipelines lists those there are."
        )
    return _view(headrace.project.name, reading)


def _fresh(project: Project) -> Project:
    """The project as its files are now."""
    return read_project(project.root, project.environ)


def _summaries(name: str, project: Project) -> Iterator[PipelineSummary]:
    for uuid, reading in project.readings.items():
        pipeline = reading.pipeline or Pipeline(uuid)
        yield PipelineSummary(
            name, uuid, pipeline.name or uuid, pipeline.type, _is_valid(reading), len(pipeline.blocks)
        )


def _is_valid(reading: Reading) -> bool:
    return reading.pipeline is not None and all(fault.severity is not Severity.ERROR for fault in reading.faults)


def _view(project: str, reading: Reading) -> PipelineView:
    pipeline = reading.pipeline or Pipeline(reading.uuid)
    return PipelineView(
        project=project,
        uuid=reading.uuid,
        name=pipeline.name or reading.uuid,
        type=pipeline.type,
        valid=_is_valid(reading),
        faults=tuple(
            FaultView(fault.file, fault.line, fault.key, fault.severity, fault.message, fault.remedy)
            for fault in reading.faults
        ),
        blocks=tuple(map(_block, pipeline.blocks)),
        conditionals=tuple(map(_block, pipeline.conditionals)),
        callbacks=tuple(map(_block, pipeline.callbacks)),
        variables=pipeline.variables,
    )


def _block(block: Block) -> BlockView:
    return BlockView(
        uuid=block.uuid,
        name=block.name or block.uuid,
        type=block.type,
        language=block.language,
        upstream=block.upstream,
        configuration=block.configuration,
        timeout=block.timeout,
        file=None if block.source is None else block.source.path,
        source=None if block.source is None else block.source.text,
    )


ROUTES = (
    Route("GET", "/api/v1/pipelines", Scope.READ, list_pipelines, problems=("unknown-project",)),
    Route(
        "GET",
        "/api/v1/pipelines/{pipeline}",
        Scope.READ,
        show_pipeline,
        problems=("unknown-project", "project-needed", "unknown-pipeline"),
    ),
)
