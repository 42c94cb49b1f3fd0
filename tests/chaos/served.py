"""A whole service with a short lease, in a process of its own: `python -m tests.chaos.served PROJECT DOOR LEASE`.

Beside its API, whose address it writes into a file beside the door, it has a door: a socket that takes one event as a line
of JSON and answers after the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import asyncpg
from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, NewEvent
from headrace.engine.engine import EngineSettings
from headrace.project.following import FollowedProject
from headrace.serving import Service, ServiceSettings
from headrace.store.errors import DATABASE_AWAY
from headrace.triggers.sensors import SensorSettings

from tests.chaos.fleet import address_file

POLL = 0.2
DRAIN = 10.0


@dataclass
class Door:
    """Takes events in for a service, as a webhook's route does."""

    service: Service

    async def accept(self, request: Mapping[str, Any]) -> Accepted:
        intake, (project,) = self.service.served.intake, self.service.served.project_ids
        if "start" in request:
            return await intake.acceptor.start(project, request["start"], request["payload"], key=request["key"])
        event = NewEvent(project, request["source"], "storm", request["key"], request["payload"])
        return await intake.acceptor.accept(event)

    async def answer(self, line: bytes) -> dict[str, Any]:
        try:
            accepted = await self.accept(json.loads(line))
        except (HeadraceError, asyncpg.PostgresError, *DATABASE_AWAY) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        fates = [[fate.trigger, str(fate.fate), fate.run] for fate in accepted.fates]
        return {"event": accepted.event, "is_new": accepted.is_new, "fates": sorted(fates, key=str)}

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(line)).encode() + b"\n")
                await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Address:
    """Tells where the API is, as soon as the service says so."""

    door: Path

    def hear(self, line: str) -> None:
        if line.startswith("Headrace serves"):
            half = self.door.with_suffix(f".{os.getpid()}")
            half.write_text(line.rpartition(" ")[2])
            half.rename(address_file(self.door))


@contextlib.asynccontextmanager
async def open_door(service: Service, path: Path) -> AsyncIterator[None]:
    """The door at a socket's path, for as long as the block lasts."""
    path.unlink(missing_ok=True)
    conversations: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(Door(service).converse(reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    server = await asyncio.start_unix_server(begin, path)
    try:
        yield
    finally:
        server.close()
        for task in conversations:
            task.cancel()


async def serve(project: Path, door: Path, lease: float) -> int:
    """Serve until told to stop; the exit code of the service."""
    engine, sensors = EngineSettings(lease=lease, poll=POLL), SensorSettings(lease=lease, poll=POLL)
    settings = ServiceSettings(port=0, drain=DRAIN, engine=engine, sensors=sensors)
    service = Service([FollowedProject(project, os.environ)], os.environ, settings, tell=Address(door).hear)
    async with open_door(service, door):
        return await service.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    sys.exit(anyio.run(serve, Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
