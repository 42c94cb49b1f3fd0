"""`headrace start` as a process of its own, as its users start it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

START_SECONDS = 30
LOOK_SECONDS = 0.02


@dataclass
class ServedProcess:
    """A running service; `lines` are those that it printed before it served."""

    process: asyncio.subprocess.Process
    url: str
    lines: list[str]
    log: Path
    client: aiohttp.ClientSession

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, within: float = 20) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.process.wait(), within)

    async def status(self, path: str, **options: Any) -> int:
        async with self.client.get(self.url + path, **options) as answer:
            return answer.status

    async def get(self, path: str) -> Any:
        async with self.client.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def post(self, path: str, body: Any = None) -> Any:
        async with self.client.post(self.url + path, json=body or {}) as answer:
            assert answer.status in (200, 201, 202), await answer.text()
            return await answer.json()

    async def ready(self) -> None:
        """Wait until it says that it can serve."""
        async with asyncio.timeout(START_SECONDS):
            while await self.status("/readyz") != 200:
                await asyncio.sleep(LOOK_SECONDS)

    async def reached(self, run: int, *statuses: str, block: str | None = None) -> dict[str, Any]:
        """Wait until a run, or a block of it, has one of these statuses."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                view = await self.get(f"/api/v1/runs/{run}")
                seen = view if block is None else next(one for one in view["blocks"] if one["uuid"] == block)
                if seen["status"] in statuses:
                    return view
                await asyncio.sleep(LOOK_SECONDS)


async def begin(*arguments: str, environ: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """`headrace start` with these arguments, on a free port; its log goes to a file."""
    with log.open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace", "start", "--port", "0", *arguments,
            env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip


@asynccontextmanager
async def started(
    *projects: Path, database_url: str, options: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> AsyncIterator[ServedProcess]:
    """A service of these projects, as soon as it listens; killed at the end of the block if it still runs."""
    log = projects[0] / "service.log"
    given = {"HEADRACE_DATABASE_URL": database_url, **(environ or {})}
    process = await begin(*map(str, projects), *options, environ=given, log=log)
    try:
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), START_SECONDS)).decode().strip() for _ in range(2)]
        assert lines[0].startswith("Headrace serves"), (lines, log.read_text()[-3000:])
        token = given.get("HEADRACE_API_TOKEN") or (projects[0] / ".headrace" / "token").read_text().strip()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client:
            yield ServedProcess(process, lines[0].rpartition(" ")[2], lines, log, client)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
