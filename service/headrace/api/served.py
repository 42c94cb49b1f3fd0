"""What the API serves: the projects of a service and the database they share, once it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from headrace.api.bodies import BodyLimits
from headrace.api.figures import Figures
from headrace.api.problems import NotReady
from headrace.api.rates import Rates
from headrace.domain.errors import HeadraceError
from headrace.engine.clock import Clock, SystemClock
from headrace.engine.headrace import Headrace
from headrace.engine.reading import UnknownRun, run_row
from headrace.store.database import Database
from headrace.triggers.intake import Intake


class UnknownProject(HeadraceError):
    """This service serves no project of this name."""

    code = "unknown-project"


class ProjectNeeded(HeadraceError):
    """The service serves several projects, and a request does not say which it means."""

    code = "project-needed"


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """How the API behaves; times in seconds."""

    body: BodyLimits = field(default_factory=BodyLimits)
    token_digest: bytes | None = None
    """The digest of a token with every scope that the environment gives."""
    most_streams: int = 200
    """Live streams at once; each costs a connection and a few queries a second."""
    beat: float = 15.0
    """A live stream that has nothing to tell says so this often, so that both ends know that the line is open."""
    most_waiting: int = 500
    """Requests that may wait for their run's end at once; others are answered as if they did not wait."""
    stream: float = 900.0
    """A live stream ends after this long; its client comes back where it was, and its token is looked at again."""


@dataclass
class Served:
    """The projects of a service by name. Empty until the database was reached for the first time."""

    settings: ApiSettings = field(default_factory=ApiSettings)
    figures: Figures = field(default_factory=Figures)
    projects: Mapping[str, Headrace] = field(default_factory=dict)
    waits_for: str = "the database"
    """Why the service is not ready; empty once it is."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service begins to stop: streams end, and readiness is no more."""
    streams: int = 0
    clock: Clock = field(default_factory=SystemClock)
    rates: Rates = field(default_factory=Rates)
    waiting: int = 0
    """Requests that wait for their run's end."""
    own_digest: bytes | None = None
    """The digest of the token that this service keeps in a file: it is known while the database is away, too."""
    _database: Database | None = None
    _intake: Intake | None = None

    def open(self, database: Database, projects: Mapping[str, Headrace], intake: Intake) -> None:
        """Serve these projects from now on."""
        self._database, self._intake, self.projects, self.waits_for = database, intake, projects, ""

    @property
    def opened(self) -> Database:
        """The database. Raises NotReady before it was reached."""
        if self._database is None:
            raise NotReady(f"The service waits for {self.waits_for}.", remedy="Try again soon.")
        return self._database

    @property
    def intake(self) -> Intake:
        """What takes events in. Raises NotReady before the database was reached."""
        if self._intake is None:
            raise NotReady(f"The service waits for {self.waits_for}.", remedy="Try again soon.")
        return self._intake

    @property
    def project_ids(self) -> list[int]:
        """The ids of the projects served."""
        return [headrace.project_id for headrace in self.projects.values()]

    def project(self, name: str | None) -> Headrace:
        """A project by name; the one that there is where no name is given. Raises UnknownProject, ProjectNeeded."""
        self.opened  # noqa: B018 - raises while nothing is served
        known = ", ".join(sorted(self.projects))
        if name is None and len(self.projects) == 1:
            return next(iter(self.projects.values()))
        if name is None:
            raise ProjectNeeded("Several projects are served here.", remedy=f"Name one of them: {known}.")
        if name not in self.projects:
            raise UnknownProject(f"There is no project {name} here.", remedy=f"Projects here: {known}.")
        return self.projects[name]

    def name_of(self, project: int) -> str:
        """The name of a project that is served here."""
        return next(name for name, headrace in self.projects.items() if headrace.project_id == project)

    def chosen_ids(self, name: str | None) -> list[int]:
        """The ids of the project of a name, or of all."""
        return self.project_ids if name is None else [self.project(name).project_id]

    async def project_of(self, run: int) -> Headrace:
        """The project of a run. Raises UnknownRun, also for a run of a project that is not served here."""
        with suppress(UnknownRun):
            row = await run_row(self.opened, run)
            for headrace in self.projects.values():
                if headrace.project_id == row["project_id"]:
                    return headrace
        raise UnknownRun(f"There is no run {run}.", remedy="GET /api/v1/runs lists the runs there are.")
