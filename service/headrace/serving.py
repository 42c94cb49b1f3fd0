"""The composition root of a service that runs on: API, engines and whatever takes events in, for its projects."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from headrace.api.app import build_app
from headrace.api.auth import digest_of
from headrace.api.hosts import LOOPBACK_NAMES, is_loopback
from headrace.api.listening import listening
from headrace.api.own_token import OwnToken, own_token, recorded_token, token_file
from headrace.api.served import ApiSettings, Served
from headrace.domain.errors import HeadraceError
from headrace.domain.retention import ProjectRetention
from headrace.driving import start_engine
from headrace.engine.answering import RunAnswers
from headrace.engine.births import Births
from headrace.engine.clock import SystemClock
from headrace.engine.engine import Engine, EngineSettings
from headrace.engine.look_workers import LookWorkers
from headrace.engine.pool_sizes import PoolSizes
from headrace.engine.retention import Retainer
from headrace.engine.schema_watch import SchemaWatch
from headrace.project.following import FollowedProject
from headrace.project.reading import read_project
from headrace.service import Headrace
from headrace.store.database import URL_SETTING, Database, open_database
from headrace.store.embedded import HOME_SETTING
from headrace.store.errors import DATABASE_AWAY, DatabaseUnavailable, SchemaTooNew
from headrace.store.runs import keep_project
from headrace.store.tokens import count_live_tokens
from headrace.supervising import supervised
from headrace.triggers.intake import Intake
from headrace.triggers.sensors import Sensors, SensorSettings

log = logging.getLogger(__name__)

TOKEN_SETTING = "HEADRACE_API_TOKEN"  # noqa: S105 - the name of a variable
HOSTS_SETTING = "HEADRACE_HOSTS"
LEAST_TOKEN = 32
PAUSES = (0.2, 5.0)
"""Seconds before the database is tried for the second time, and at most."""
UNREACHED: tuple[type[BaseException], ...] = (*DATABASE_AWAY, DatabaseUnavailable)
"""What is raised while the database cannot be opened yet, for reasons that may pass by themselves."""
CONNECTIONS = 8
"""For the API and for events; every engine has its own beside them."""


class NoAuthentication(HeadraceError):
    """The service was asked to listen where others can reach it, and nothing says who they are."""

    code = "no-authentication"


class SeparateDatabases(HeadraceError):
    """Projects that are served together must share a database."""

    code = "separate-databases"


class SameName(HeadraceError):
    """Two projects that are served together have one name."""

    code = "same-name"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How a service runs; times in seconds."""

    host: str = "127.0.0.1"
    port: int = 6789
    own_token: bool = False
    """Whether the token that the service makes for itself is enough where others can reach it."""
    drain: float = 30.0
    """How long blocks that are under way may still take when the service is told to stop."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    sensors: SensorSettings = field(default_factory=SensorSettings)
    spares: int = 2


@dataclass
class Service:
    """Serves some projects until it is told to stop. `tell` shows a line to whoever started it."""

    projects: Sequence[FollowedProject]
    environ: Mapping[str, str]
    settings: ServiceSettings = field(default_factory=ServiceSettings)
    tell: Callable[[str], None] = log.info
    served: Served = field(init=False)
    _whole: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _draining: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _hurried_by: int = 0
    _unfit: SchemaTooNew | None = None

    def __post_init__(self) -> None:
        self.served = Served(ApiSettings(token_digest=_given_digest(self.environ)))

    async def run(self) -> int:
        """Serve; the exit code: 0, 1 where blocks were under way until the end, 128 + n where signal n hurried it.

        Raises what is wrong with the projects, the address or the database, unless it may pass by itself.
        """
        _check_together(self.projects, self.environ)
        code = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._heed_signals)
            tasks.start_soon(self.served.figures.lag.run)
            with self._whole:
                code = await self._serve()
            tasks.cancel_scope.cancel()
        return 128 + self._hurried_by if self._hurried_by else code

    def stop(self) -> None:
        """Begin to stop: claim nothing more, let blocks under way come to their end."""
        if self.served.waits_for:
            self._whole.cancel()
        self.served.stopping.set()

    def _leave_to_newer(self, error: SchemaTooNew) -> None:
        """Stop, since a newer version has made the database what this one does not know."""
        if self._unfit is None:
            log.error("%s This service ends; blocks under way have %g s", error, self.settings.drain)
            self._unfit = error
            self.stop()

    async def _heed_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                if not self.served.stopping.is_set():
                    log.info("told to stop: blocks under way have %g s; once more to stop at once", self.settings.drain)
                    self.stop()
                elif not self._hurried_by:
                    self._hurried_by = number
                    self._draining.cancel()
                else:
                    os._exit(128 + number)

    async def _serve(self) -> int:
        token = None if self.served.settings.token_digest else own_token(self._token_files())
        self._heed_token(token)
        async with AsyncExitStack() as stack:
            if self._says_who_calls(token):
                await self._listen(stack, token)
                database = await self._reached(stack)
            else:
                database = await self._reached(stack)
                await _check_tokens(database, self.settings.host)
                await self._listen(stack, token)
            if token is not None:
                await self._record_token(database, token)
            return await self._drive(database)

    def _token_files(self) -> list[Path]:
        return list(dict.fromkeys(token_file(each.root, self.environ) for each in self.projects))

    def _heed_token(self, token: OwnToken | None) -> None:
        self.served.own_digest = None if token is None else digest_of(token.text)

    def _says_who_calls(self, token: OwnToken | None) -> bool:
        """Whether it is known without the database that whoever reaches the service needs a token to use it."""
        return is_loopback(self.settings.host) or self.settings.own_token or token is None or not token.is_new

    async def _listen(self, stack: AsyncExitStack, token: OwnToken | None) -> None:
        app = build_app(self.served, self._hosts())
        url = await stack.enter_async_context(listening(app, self.settings.host, self.settings.port))
        self.tell(f"Headrace serves {', '.join(sorted(each.project().name for each in self.projects))} at {url}")
        self.tell(_told(token))

    def _hosts(self) -> frozenset[str] | None:
        given = frozenset(filter(None, map(str.strip, self.environ.get(HOSTS_SETTING, "").split(","))))
        if is_loopback(self.settings.host):
            return LOOPBACK_NAMES | given
        return given or None

    async def _reached(self, stack: AsyncExitStack) -> Database:
        """The database, as soon as it can be reached."""
        pause, longest = PAUSES
        while True:
            try:
                opened = open_database(self.projects[0].root, self.environ, pool_size=CONNECTIONS)
                return await stack.enter_async_context(opened)
            except UNREACHED as error:
                log.warning("waiting for the database: %s", error)
            await anyio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _record_token(self, database: Database, token: OwnToken) -> None:
        recorded = await database.retrying(lambda: recorded_token(database, token, self._token_files()))
        if recorded is not token:
            self._heed_token(recorded)
            self.tell(_told(recorded))

    async def _drive(self, database: Database) -> int:
        """Serve the projects until told to stop; the exit code."""
        announcer = Announcer(database)
        ids = {await self._kept(database, each): each for each in self.projects}
        births = Births()
        intake = Intake.of(database, ids, announcer.announce, births, self.served.figures)
        pools = [_pool_sizes(database, number, each) for number, each in ids.items()]
        for sizes in pools:
            await sizes.keep()
        async with AsyncExitStack() as stack:
            headraces = [await self._driven(stack, database, number, each, intake) for number, each in ids.items()]
            births.engines = [headrace.engine for headrace in headraces if headrace.engine is not None]
            async with anyio.create_task_group() as parts:
                for name, run in {**intake.parts, "the announcer of runs": announcer.run}.items():
                    parts.start_soon(supervised, name, run)
                sensors = _sensors(database, intake, headraces, self.settings.sensors)
                parts.start_soon(supervised, "the sensors", sensors.run)
                for number, each in ids.items():
                    parts.start_soon(supervised, "the removal of what is old", _retainer(database, number, each).run)
                for sizes in pools:
                    parts.start_soon(supervised, "the sizes of pools", sizes.run)
                watch = SchemaWatch(database, self._leave_to_newer, SystemClock())
                parts.start_soon(supervised, "the look for newer migrations", watch.run)
                await intake.book.ready()
                self.served.open(database, {headrace.project.name: headrace for headrace in headraces}, intake)
                log.info("ready")
                await self.served.stopping.wait()
                quiet = await self._drained(births.engines)
                parts.cancel_scope.cancel()
        if self._unfit is not None:
            raise self._unfit
        return 0 if quiet else 1

    async def _kept(self, database: Database, project: FollowedProject) -> int:
        read = project.project()
        return await database.retrying(lambda: keep_project(database, str(project.root), read.name))

    async def _driven(
        self, stack: AsyncExitStack, database: Database, number: int, project: FollowedProject, intake: Intake
    ) -> Headrace:
        headrace = Headrace(project, number, database, on_end=intake.run_ended, observer=self.served.figures)
        await start_engine(stack, headrace, claim_all=True, settings=self.settings.engine, spares=self.settings.spares)
        return headrace

    async def _drained(self, engines: Sequence[Engine]) -> bool:
        """Let blocks under way come to their end; whether they did in time."""
        with self._draining, anyio.move_on_after(self.settings.drain):
            async with anyio.create_task_group() as draining:
                for engine in engines:
                    draining.start_soon(engine.drain)
            return True
        log.warning("blocks were still under way: they are stopped, and their runs are given back")
        return False


@dataclass
class Announcer:
    """Tells engines of runs that were made: those here at once, those of other services through the database."""

    database: Database
    _made: anyio.Event = field(default_factory=anyio.Event)

    def announce(self, runs: Sequence[int]) -> None:
        """Tell of runs that are committed."""
        self.database.waker.wake_here()
        self._made.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._made.wait()
            self._made = anyio.Event()
            await self.database.waker.wake_others()


def _sensors(database: Database, intake: Intake, headraces: Sequence[Headrace], settings: SensorSettings) -> Sensors:
    pools = {headrace.project.root: headrace.pool for headrace in headraces if headrace.pool is not None}
    answers = RunAnswers(database)
    return Sensors(database, intake.book, intake.acceptor, LookWorkers(pools), SystemClock(), answers.answer, settings)


def _pool_sizes(database: Database, number: int, project: FollowedProject) -> PoolSizes:
    return PoolSizes(database, number, lambda: project.project().defaults.pools, SystemClock())


def _retainer(database: Database, number: int, project: FollowedProject) -> Retainer:
    def retention() -> ProjectRetention:
        return read_project(project.root, project.environ).retention

    return Retainer(database, number, retention, SystemClock())


def _given_digest(environ: Mapping[str, str]) -> bytes | None:
    given = environ.get(TOKEN_SETTING, "")
    if not given:
        return None
    if len(given) < LEAST_TOKEN:
        raise NoAuthentication(
            f"{TOKEN_SETTING} is shorter than {LEAST_TOKEN} characters.", remedy="Give one that nobody can guess."
        )
    return digest_of(given)


def _check_together(projects: Sequence[FollowedProject], environ: Mapping[str, str]) -> None:
    names = [each.project().name for each in projects]
    for name in names:
        if names.count(name) > 1:
            raise SameName(
                f"Two of these projects have the name {name}.", remedy="Write another `name:` into one's metadata.yaml."
            )
    if len(projects) > 1 and not (environ.get(URL_SETTING) or environ.get(HOME_SETTING)):
        raise SeparateDatabases(
            "Each of these projects has an embedded database of its own; served together they must share one.",
            remedy=f"Name a folder for it in {HOME_SETTING}, or a server in {URL_SETTING}.",
        )


async def _check_tokens(database: Database, host: str) -> None:
    if not await database.retrying(lambda: count_live_tokens(database)):
        raise NoAuthentication(
            f"On {host} others can reach this service, and there is no token yet that tells who may use it.",
            remedy=f"Make one (`headrace tokens create NAME`), give one in {TOKEN_SETTING}, or start with --own-token.",
        )


def _told(token: OwnToken | None) -> str:
    if token is None:
        return f"token: the one in {TOKEN_SETTING}"
    return f"token: {token.text} (kept in {token.path})" if token.is_new else f"token: in {token.path}"
