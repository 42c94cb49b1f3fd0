"""A small local HTTP server with a generated sample of the taxi trips, so that the bundled project runs offline."""

from __future__ import annotations

import asyncio
import gzip
import io
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import lru_cache

from aiohttp import web

COLUMNS = (
    "VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance", "RatecodeID",
    "store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount", "extra", "mta_tax",
    "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount", "congestion_surcharge",
)  # fmt: skip
FILE = "yellow_tripdata_2021-01.csv.gz"
ROWS = 20_000


@asynccontextmanager
async def serve_samples() -> AsyncIterator[str]:
    """Serve `/yellow_tripdata_2021-01.csv.gz` on a free loopback port; the base URL, without a slash at its end."""
    app = web.Application()
    app.router.add_get(f"/{FILE}", _trips)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _trips(_: web.Request) -> web.Response:
    body = await asyncio.to_thread(generate_trips)
    return web.Response(body=body, content_type="application/gzip")


@lru_cache(maxsize=1)
def generate_trips(rows: int = ROWS, seed: int = 2021) -> bytes:
    """A gzipped CSV of `rows` trips in the columns of the taxi data; the same bytes for the same arguments.

    About 2 % of the trips have no passengers, and some have an unknown number, as in the published data.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0, filename="") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        file.writelines(line.encode() for line in _lines(rows, random.Random(seed)))  # noqa: S311 - a sample
    return packed.getvalue()


def _lines(rows: int, chance: random.Random) -> Iterator[str]:
    pickup = datetime(2021, 1, 1)  # noqa: DTZ001 - the published times are local and carry no zone
    for _ in range(rows):
        pickup += timedelta(seconds=chance.randrange(1, 240))
        yield _trip(pickup, chance)


def _trip(pickup: datetime, chance: random.Random) -> str:
    minutes, miles = chance.uniform(2, 45), round(chance.uniform(0.3, 12), 2)
    known = chance.random() > 0.01
    passengers = str(0 if chance.random() < 0.02 else chance.choice((1, 1, 1, 2, 2, 3, 4, 5, 6))) if known else ""
    fare = round(2.5 + miles * 2.5 + minutes * 0.5, 1)
    tip = round(fare * chance.choice((0, 0, 0.1, 0.2)), 2)
    tolls = 6.12 if chance.random() < 0.04 else 0
    cells = (
        chance.choice((1, 2)) if known else "", pickup, pickup + timedelta(seconds=int(minutes * 60)), passengers,
        miles,
        1 if known else "", chance.choice(("N", "N", "N", "Y")) if known else "", chance.randrange(1, 266),
        chance.randrange(1, 266), chance.choice((1, 1, 2)) if known else "", fare, 0.5, 0.5, tip, tolls, 0.3,
        round(fare + 1.3 + tip + tolls + 2.5, 2), 2.5,
    )  # fmt: skip
    return ",".join(str(cell) for cell in cells) + "\n"
