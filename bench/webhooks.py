"""Webhooks: from the POST to the block's code and to the run's end, and how many are accepted beside a bare handler."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import yaml
from headrace.service import Headrace

from bench.projects import passing_folder
from bench.table import Figure

CONNECTIONS = 32
SINGLE = 40
"""Deliveries to an idle service, in one round."""
ACCEPT_SECONDS = 3.0
START_SECONDS = 60

CLOCK = "import time\n\n@custom\ndef clock(*args, **kwargs):\n    return time.time()\n"
NAP = "import time\n\n@custom\ndef nap(*args, **kwargs):\n    time.sleep(3600)\n"
RATE = {"per_second": 1_000_000, "burst": 1_000_000}

BARE = """
import asyncio, sys
import asyncpg
from aiohttp import web

async def main(dsn):
    pool = await asyncpg.create_pool(dsn, min_size=8, max_size=8)
    await pool.execute('CREATE TABLE IF NOT EXISTS public.bare (id bigint GENERATED ALWAYS AS IDENTITY, body bytea)')

    async def take(request):
        body = await request.read()
        number = await pool.fetchval('INSERT INTO public.bare (body) VALUES ($1) RETURNING id', body)
        return web.json_response({'id': number}, status=202)

    app = web.Application()
    app.router.add_post('/hooks/queue', take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0).start()
    print('serves at http://127.0.0.1:%d' % runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def write_hooked(root: Path) -> None:
    """A project with a pipeline whose block tells the time, and one of which a single run blocks the others."""
    (root / "metadata.yaml").write_text("project_type: standalone\nname: hooked\n")
    for uuid, source, limits in (("clock", CLOCK, {}), ("queue", NAP, {"max_active_runs": 1})):
        folder = root / "pipelines" / uuid
        folder.mkdir(parents=True)
        (folder / "metadata.yaml").write_text(yaml.safe_dump({"blocks": [{"uuid": "b", "type": "custom"}]}))
        (folder / "b.py").write_text(source)
        hook = {"path": uuid, "preset": "none", "rate": RATE, "answer": ["b"]}
        trigger = {"name": uuid, "schedule_type": "webhook", "status": "active", "webhook": hook, **limits}
        (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}))


async def webhooks(headrace: Headrace, rounds: int) -> list[Figure]:
    """A service of its own, started as its users start it, on the bench's database."""
    with passing_folder() as root:
        write_hooked(root)
        environ = {**os.environ, "HEADRACE_HOME": headrace.project.environ["HEADRACE_HOME"]}
        command = [sys.executable, "-m", "headrace", "start", str(root), "--port", "0", "--drain", "0"]
        async with served(command, environ) as ours:
            await until_ready(ours.url)
            begun, ended = await latencies(ours.url, SINGLE * rounds)
            async with served([sys.executable, "-c", BARE, headrace.database.address.dsn], environ) as bare:
                pairs = [(await accepted(ours.url), await accepted(bare.url)) for _ in range(rounds)]
        await clear(headrace.database.address.dsn)
    ratio = statistics.median(one / other for one, other in pairs)
    told = f"bare handler {statistics.median(other for _, other in pairs):.0f}/s"
    return [
        Figure("webhook → block's code, p50", _quantile(begun, 50), "ms", 5.0),
        Figure("webhook → block's code, p95", _quantile(begun, 95), "ms", 15.0),
        Figure("webhook → run completed, p50", _quantile(ended, 50), "ms", 10.0, "the sender waits for the outcome"),
        Figure("webhooks accepted / bare handler", ratio, "x", 0.5, told, more=True),
    ]


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own."""

    url: str
    pid: int


@asynccontextmanager
async def served(command: Sequence[str], environ: dict[str, str]) -> AsyncIterator[Server]:
    """A server that a command starts; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        yield Server(line.decode().split()[-1], process.pid)
    finally:
        process.terminate()
        await process.wait()


async def until_ready(url: str) -> None:
    """Wait until a service says that it can serve."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        line = await Line.to(url)
        status, _ = await line.ask("GET", "/readyz", b"")
        line.close()
        if status == 200:
            return
        if time.monotonic() > deadline:
            raise RuntimeError("the service did not become ready")
        await asyncio.sleep(0.1)


class Line:
    """A connection that asks one thing after the other, with as little of its own as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    @classmethod
    async def to(cls, url: str) -> Line:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer, parts.netloc)

    async def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of an answer that tells its length."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        head_of_answer = await self.reader.readuntil(b"\r\n\r\n")
        status, length = int(head_of_answer[9:12]), 0
        for line in head_of_answer.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        return status, await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.close()


async def latencies(url: str, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the POST to the block's code, and to the answer that tells the completed run's outcome."""
    line = await Line.to(url)
    begun, ended = [], []
    for number in range(count + 5):
        await asyncio.sleep(0.15)  # the service is idle again
        sent = time.time()
        status, text = await line.ask("POST", "/hooks/clock?wait=30", b'{"n": 1}')
        answered = time.time()
        told = json.loads(text)
        if status != 200 or told["ended"][0]["status"] != "completed":
            raise RuntimeError(f"a delivery of the bench was answered {status}: {text.decode()}")
        if number >= 5:  # the first ones warm up
            begun.append((told["ended"][0]["outputs"]["b"][0] - sent) * 1000)
            ended.append((answered - sent) * 1000)
    line.close()
    return begun, ended


async def accepted(url: str) -> float:
    """Deliveries a second that are accepted over all connections."""
    body = json.dumps({"order": 17, "items": ["a", "b"], "total": 12.5}).encode()
    until = time.monotonic() + ACCEPT_SECONDS

    async def pour() -> int:
        line, count = await Line.to(url), 0
        while time.monotonic() < until:
            status, text = await line.ask("POST", "/hooks/queue", body)
            if status != 202:
                raise RuntimeError(f"a delivery of the bench was answered {status}: {text.decode()}")
            count += 1
        line.close()
        return count

    began = time.monotonic()
    return sum(await asyncio.gather(*(pour() for _ in range(CONNECTIONS)))) / (time.monotonic() - began)


async def clear(dsn: str) -> None:
    """End what the measure left waiting, so that later ones are not disturbed."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "UPDATE headrace.run SET status = 'cancelled', finished_at = now(), owner = NULL "
            "WHERE status IN ('initial', 'running') AND pipeline IN ('queue', 'clock')"
        )
        await connection.execute("DROP TABLE IF EXISTS public.bare")
    finally:
        await connection.close()
