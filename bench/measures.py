"""The measures. Each takes a driven Headrace and gives figures, the floor taken within the same run."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import web
from headrace.engine.views import RunView
from headrace.samples import generate_trips
from headrace.service import Headrace

from bench.processes import cpu_seconds, family, peak_memory, pss, server_pids
from bench.projects import LOAD
from bench.schedules import schedules
from bench.table import Figure
from bench.watching import watching
from bench.webhooks import webhooks


async def run(headrace: Headrace, pipeline: str, **options: object) -> RunView:
    """One run to its end; a run that does not complete is a fault of the bench."""
    view = await headrace.finished(await headrace.create_run(pipeline, **options))  # type: ignore[arg-type]
    if view.status != "completed":
        raise RuntimeError(f"{pipeline}: {view.status}: {view.reason}")
    return view


def took(view: RunView) -> float:
    """Seconds from a run's recorded start to its recorded end."""
    assert view.finished_at is not None
    assert view.started_at is not None
    return (view.finished_at - view.started_at).total_seconds()


async def commit_seconds(dsn: str, commits: int = 200) -> float:
    """The median time of one single-row commit over asyncpg on the same database."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS public.bench_floor (id int PRIMARY KEY, n int)")
        await connection.execute("INSERT INTO public.bench_floor VALUES (1, 0) ON CONFLICT DO NOTHING")
        times = []
        for _ in range(commits):
            began = time.perf_counter()
            await connection.execute("UPDATE public.bench_floor SET n = n + 1 WHERE id = 1")
            times.append(time.perf_counter() - began)
    finally:
        await connection.close()
    return statistics.median(times)


async def chain40(headrace: Headrace, rounds: int) -> list[Figure]:
    """40 trivial blocks in sequence, warm: milliseconds a block, and as a multiple of n + 2 bare commits."""
    await run(headrace, "chain40")
    ratios, times = [], []
    for _ in range(rounds):
        floor = await commit_seconds(headrace.database.address.dsn)
        seconds = took(await run(headrace, "chain40"))
        times.append(seconds / 40 * 1000)
        ratios.append(seconds / (42 * floor))
    told = f"one commit {floor * 1000:.2f} ms"
    return [
        Figure("chain40", statistics.median(times), "ms a block", 1.5, told),
        Figure("chain40 / floor", statistics.median(ratios), "x", 3.0, "n + 2 commits"),
    ]


async def fan100(headrace: Headrace, rounds: int) -> list[Figure]:
    """1 → 100 → 1: seconds."""
    await run(headrace, "fan100")
    floor = await commit_seconds(headrace.database.address.dsn)
    times = [took(await run(headrace, "fan100")) for _ in range(rounds)]
    return [Figure("fan100", statistics.median(times), "s", 0.15, f"102 commits {102 * floor:.3f} s")]


@asynccontextmanager
async def served(body: bytes) -> AsyncIterator[str]:
    """An HTTP server on loopback that serves one body."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/gzip")

    app = web.Application()
    app.router.add_get("/trips.csv.gz", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/trips.csv.gz"
    finally:
        await runner.cleanup()


PLAIN = (
    LOAD.replace("@data_loader\n", "")
    + """
import asyncio, sys, time
import asyncpg, pgpq, pyarrow as pa

async def main(url, dsn):
    began = time.perf_counter()
    trips = load(url=url)
    trips = trips[trips['passenger_count'] > 0]
    assert trips['passenger_count'].eq(0).sum() == 0
    for name in DATES:
        trips[name] = trips[name].astype('datetime64[us]')
    table = pa.Table.from_pandas(trips, preserve_index=False)
    encoder = pgpq.ArrowToPostgresBinaryEncoder(table.schema)
    columns = ', '.join(f'"{n}" {c.data_type.ddl()}' for n, c in zip(table.schema.names, encoder.schema().columns))
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute('CREATE SCHEMA IF NOT EXISTS plain')
        await connection.execute('DROP TABLE IF EXISTS plain.trips')
        await connection.execute(f'CREATE TABLE plain.trips ({columns})')
        async def parts():
            yield encoder.write_header()
            for batch in table.to_batches(max_chunksize=65536):
                yield encoder.write_batch(batch)
            yield encoder.finish()
        await connection.copy_to_table('trips', schema_name='plain', source=parts(), format='binary')
    await connection.close()
    print(time.perf_counter() - began)

asyncio.run(main(*sys.argv[1:]))
"""
)


async def plain_script(url: str, dsn: str) -> float:
    """Seconds that one plain script takes for the same job, imports left out."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", PLAIN, url, dsn, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the plain script failed")
    return float(printed.decode().split()[-1])


async def etl(headrace: Headrace, rounds: int, rows: int = 250_000) -> list[Figure]:
    """The taxi job on 250k rows against a plain script with the fastest export, and the peak of memory."""
    body = await asyncio.to_thread(generate_trips, rows)
    ratios, peaks, floors = [], [], []
    async with served(body) as url:
        await run(headrace, "etl", variables={"url": url})
        for _ in range(rounds):
            floors.append(await plain_script(url, headrace.database.address.dsn))
            async with peak_memory() as peak:
                ratios.append(took(await run(headrace, "etl", variables={"url": url})) / floors[-1])
            peaks.append(peak[0])
    told = f"plain script {statistics.median(floors):.2f} s"
    return [
        Figure("etl / plain script", statistics.median(ratios), "x", 1.5, told),
        Figure("etl, memory of service and workers", max(peaks) / 1e9, "GB", 1.2),
    ]


TO_SQL = """
import sys, time
import pandas as pd, sqlalchemy
from headrace.io import ConfigFileLoader, Postgres
frame = pd.read_parquet(sys.argv[1])
engine = sqlalchemy.create_engine(sys.argv[2])
began = time.perf_counter()
frame.to_sql('to_sql', engine, if_exists='replace', index=False)
slow = time.perf_counter() - began
with Postgres.with_config(ConfigFileLoader('io_config.yaml', 'dev')) as loader:
    loader.export(frame.head(1000), 'bench', 'export', if_exists='replace', verbose=False)
    began = time.perf_counter()
    loader.export(frame, 'bench', 'export', index=False, if_exists='replace', verbose=False)
    fast = time.perf_counter() - began
print(slow, fast)
"""


async def export(headrace: Headrace, rounds: int, rows: int = 250_000) -> list[Figure]:
    """Our export of the frame against DataFrame.to_sql."""
    environ = await _block_environ(headrace)
    path = headrace.project.root / "frame.parquet"
    trips = (
        "import sys, io, pandas as pd\nfrom headrace.samples import generate_trips\n"
        f"pd.read_csv(io.BytesIO(generate_trips({rows})), compression='gzip', "
        "parse_dates=['tpep_pickup_datetime', 'tpep_dropoff_datetime']).to_parquet(sys.argv[1])\n"
    )
    await _script(headrace, trips, environ, str(path))
    url = (
        f"postgresql+psycopg2://{environ['POSTGRES_USER']}:{environ['POSTGRES_PASSWORD']}@/"
        f"{environ['POSTGRES_DBNAME']}?host={environ['POSTGRES_HOST']}&port={environ['POSTGRES_PORT']}"
    )
    ratios = []
    for _ in range(rounds):
        slow, fast = map(float, (await _script(headrace, TO_SQL, environ, str(path), url)).split()[-2:])
        ratios.append(slow / fast)
    return [Figure("export / to_sql", statistics.median(ratios), "x", 8.0, f"to_sql {slow:.1f} s", more=True)]


async def _script(headrace: Headrace, text: str, environ: Mapping[str, str], *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", text, *arguments, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environ}, cwd=headrace.project.root,
    )  # fmt: skip
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("a script of the bench failed")
    return printed.decode()


async def _block_environ(headrace: Headrace) -> Mapping[str, str]:
    from headrace.store.project_role import project_database

    return await project_database(headrace.database, headrace.project.root)


async def idle(headrace: Headrace, rounds: int) -> list[Figure]:
    """Everything at rest: share of a core and memory, Postgres counted in."""
    await asyncio.sleep(2)
    seconds = 3.0 * rounds
    pids = family(server_pids(headrace.database))
    before = cpu_seconds(pids)
    await asyncio.sleep(seconds)
    used = cpu_seconds(pids) - before
    return [
        Figure("idle, processor", used / seconds * 100, "% of a core", 1.0),
        Figure("idle, memory", pss(family(server_pids(headrace.database))) / 1e6, "MB", 300.0),
    ]


MEASURES = {
    "idle": idle, "schedules": schedules, "watching": watching, "chain40": chain40, "fan100": fan100, "export": export,
    "etl": etl, "webhooks": webhooks,
}  # fmt: skip
"""Name to measure, in the order they are taken."""
