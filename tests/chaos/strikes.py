"""What a storm does to services, workers and Postgres: planned from a seed, carried out at its instants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import asyncpg

from tests.chaos.fleet import Fleet
from tests.support.processes import grandchildren


class Kind(StrEnum):
    """One kind of strike."""

    KILL_SERVICE = "kill -9 of a service"
    PAUSE_SERVICE = "SIGSTOP of a service"
    STOP_SERVICE = "SIGTERM of a service"
    KILL_WORKER = "kill -9 of a worker"
    KILL_POSTGRES = "kill -9 of Postgres"
    RESTART_POSTGRES = "fast restart of Postgres"
    ABORT_POSTGRES = "immediate restart of Postgres"
    CUT_CONNECTIONS = "cut of some connections"
    END_BACKEND = "end of one connection"


MIXED: Mapping[Kind, int] = {
    Kind.KILL_SERVICE: 5,
    Kind.PAUSE_SERVICE: 4,
    Kind.STOP_SERVICE: 2,
    Kind.KILL_WORKER: 5,
    Kind.KILL_POSTGRES: 2,
    Kind.RESTART_POSTGRES: 1,
    Kind.ABORT_POSTGRES: 1,
    Kind.CUT_CONNECTIONS: 4,
}
POSTGRES = {
    Kind.KILL_POSTGRES: signal.SIGKILL,
    Kind.RESTART_POSTGRES: signal.SIGINT,
    Kind.ABORT_POSTGRES: signal.SIGQUIT,
}
"""Strikes at the server to the signal that its first process gets; its keeper starts it anew."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What strikes, and how often."""

    shares: Mapping[Kind, int]
    gaps: tuple[float, float]
    """Seconds between strikes."""
    calm: float = 5.0
    """Postgres gets so long to come back before it is struck again, or nothing would ever be done."""


WEATHERS: Mapping[str, Weather] = {
    "mixed": Weather(MIXED, (0.15, 1.2)),
    "postgres": Weather(dict.fromkeys(POSTGRES, 1), (3.0, 6.0), calm=0.0),
    "backends": Weather({Kind.END_BACKEND: 1}, (0.1, 0.1)),
}
"""Everything at once; Postgres restarted every few seconds; ten connections ended a second."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A strike at an instant of the storm; `who` is the number of a service, `seconds` how long it stays down."""

    at: float
    kind: Kind
    who: int
    seconds: float


def plan_strikes(
    chance: random.Random, seconds: float, services: int, lease: float, weather: Weather = WEATHERS["mixed"]
) -> Iterator[Strike]:
    """The strikes of a storm. A pause may be shorter or longer than the lease."""
    at, calm_until = chance.uniform(*weather.gaps), 0.0
    while at < seconds:
        kind = chance.choices(list(weather.shares), list(weather.shares.values()))[0]
        strike = Strike(at, kind, chance.randrange(services), chance.uniform(0.1, 2.5 * lease))
        if kind not in POSTGRES or at >= calm_until:
            yield strike
            calm_until = at + weather.calm if kind in POSTGRES else calm_until
        at += chance.uniform(*weather.gaps)


@dataclass
class Struck:
    """What was really struck; a strike at a service that is down already does nothing."""

    fleet: Fleet
    data: Path
    """The data folder of the server."""
    dsn: str
    counts: dict[Kind, int] = field(default_factory=dict)

    async def carry_out(self, strikes: Sequence[Strike]) -> None:
        """Every strike at its instant, counted from now; returns once all of them are over."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for strike in strikes:
                tasks.create_task(self._at(began + strike.at, strike))

    async def _at(self, moment: float, strike: Strike) -> None:
        await asyncio.sleep(moment - asyncio.get_running_loop().time())
        if await self._strike(strike):
            self.counts[strike.kind] = self.counts.get(strike.kind, 0) + 1

    async def _strike(self, strike: Strike) -> bool:
        match strike.kind:
            case Kind.KILL_SERVICE:
                return await self.fleet.kill(strike.who, strike.seconds)
            case Kind.STOP_SERVICE:
                return await self.fleet.restart(strike.who)
            case Kind.PAUSE_SERVICE:
                return await self.fleet.pause(strike.who, strike.seconds)
            case Kind.KILL_WORKER:
                return self._kill_worker(strike)
            case Kind.CUT_CONNECTIONS:
                return await self._cut(3)
            case Kind.END_BACKEND:
                return await self._cut(1)
            case _:
                return self._strike_postgres(POSTGRES[strike.kind])

    def _kill_worker(self, strike: Strike) -> bool:
        workers = grandchildren(self.fleet.pid(strike.who))
        if not workers:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[int(strike.at * 1000) % len(workers)], signal.SIGKILL)
        return True

    def _strike_postgres(self, number: signal.Signals) -> bool:
        try:
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), number)
        except (OSError, IndexError):
            return False
        return True

    async def _cut(self, count: int) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            ended = await connection.fetch(CUT, count, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        finally:
            connection.terminate()
        return bool(ended)


CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'headrace' AND pid <> pg_backend_pid() ORDER BY random() LIMIT $1
"""
