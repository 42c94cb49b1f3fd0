"""The API on a real server, over a project whose runs are driven in the same process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from headrace.api.app import build_app
from headrace.api.auth import digest_of, new_token
from headrace.api.hosts import LOOPBACK_NAMES
from headrace.api.listening import listening
from headrace.api.served import ApiSettings, Served
from headrace.domain.scopes import Scope
from headrace.engine.births import Births
from headrace.project.following import FollowedProject
from headrace.service import Headrace, open_headrace
from headrace.store.tokens import create_token
from headrace.triggers.intake import Intake
from headrace.triggers.observing import IntakeObserver


@dataclass
class Api:
    """A served project, and a client with a token of every scope."""

    url: str
    served: Served
    headrace: Headrace
    client: aiohttp.ClientSession

    async def get(self, path: str, *, status: int = 200, **options: Any) -> Any:
        return await self.call("GET", path, status=status, **options)

    async def post(self, path: str, body: Any = None, *, status: int = 201, **options: Any) -> Any:
        return await self.call("POST", path, status=status, json={} if body is None else body, **options)

    async def call(self, method: str, path: str, *, status: int, **options: Any) -> Any:
        """The JSON of an answer, whose status must be as expected."""
        async with self.client.request(method, self.url + path, **options) as answer:
            text = await answer.text()
            assert answer.status == status, f"{method} {path}: {answer.status} {text}"
            return await answer.json(content_type=None) if text else None

    async def token(self, *scopes: Scope, name: str = "test", **options: Any) -> dict[str, str]:
        """The headers with a fresh token."""
        text = new_token()
        await create_token(self.headrace.database, name, digest_of(text), scopes, options.get("expires_at"))
        return {"Authorization": f"Bearer {text}"}


@asynccontextmanager
async def serving_api(
    root: Path,
    database_url: str,
    *,
    drive: bool = True,
    settings: ApiSettings | None = None,
    hosts: Collection[str] = LOOPBACK_NAMES,
) -> AsyncIterator[Api]:
    """The API of a project, until the block ends."""
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    served = Served(settings or ApiSettings())
    text = new_token()
    headers = {"Authorization": f"Bearer {text}"}
    async with (
        open_headrace(root, environ=environ, drive=drive, claim_all=True) as headrace,
        intake_of(headrace, served.figures) as intake,
    ):
        served.open(headrace.database, {headrace.project.name: headrace}, intake)
        await create_token(headrace.database, "all", digest_of(text), [Scope.ADMIN], None)
        async with (
            listening(build_app(served, hosts), "127.0.0.1", 0) as url,
            aiohttp.ClientSession(headers=headers) as client,
        ):
            yield Api(url, served, headrace, client)


@asynccontextmanager
async def intake_of(headrace: Headrace, observer: IntakeObserver | None = None) -> AsyncIterator[Intake]:
    """What takes events in for a project, its parts running."""
    followed = FollowedProject(headrace.project.root, headrace.project.environ)

    def made(runs: Sequence[int]) -> None:
        if headrace.engine is not None:
            headrace.engine.wake()

    births = Births([headrace.engine] if headrace.engine else [])
    intake = Intake.of(headrace.database, {headrace.project_id: followed}, made, births, observer)
    async with anyio.create_task_group() as parts:
        for run in intake.parts.values():
            parts.start_soon(run)
        await intake.book.ready()
        yield intake
        parts.cancel_scope.cancel()
