"""The projects that a service serves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from headrace.api.fields import Given, Text
from headrace.api.routes import Call, Route
from headrace.domain.scopes import Scope
from headrace.project.checking import check_project


class ProjectQuery(Given):
    """Which project is meant; may be left out where one is served."""

    project: Text | None = None


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project that is served here."""

    id: int
    name: str
    path: str
    pipelines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FaultView:
    """One thing wrong in a project's files; `line` counts from 1."""

    file: str
    line: int | None
    key: str
    severity: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ProjectList:
    """Every project served."""

    items: tuple[ProjectView, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What is wrong in a project; it is `valid` where nothing keeps anything from running."""

    valid: bool
    faults: tuple[FaultView, ...]


async def list_projects(call: Call) -> ProjectList:
    """List the projects that this service serves."""
    call.served.opened  # noqa: B018 - raises while nothing is served
    return ProjectList(
        tuple(
            ProjectView(headrace.project_id, name, str(headrace.project.root), headrace.project.pipeline_uuids())
            for name, headrace in sorted(call.served.projects.items())
        )
    )


async def check(call: Call, query: ProjectQuery) -> Check:
    """Validate everything in a project without running it, as its files are now."""
    project = call.served.project(query.project).project
    faults = await asyncio.to_thread(check_project, project.root, project.environ)
    told = tuple(
        FaultView(fault.file, fault.line, fault.key, fault.severity, fault.message, fault.remedy) for fault in faults
    )
    return Check(all(fault.severity != "error" for fault in told), told)


ROUTES = (
    Route("GET", "/api/v1/projects", Scope.READ, list_projects),
    Route("GET", "/api/v1/check", Scope.READ, check, problems=("unknown-project", "project-needed")),
)
