"""The generated trips: the same bytes each time, in the form of the published file, served on loopback alone."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import subprocess
import sys

import pytest
from aiohttp import ClientSession
from headrace.samples import COLUMNS, FILE, ROWS, generate_trips, serve_samples

from tests.support.real_data import real_file


def rows_of(packed: bytes) -> list[dict[str, str]]:
    with gzip.open(io.BytesIO(packed), "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_same_arguments_give_the_same_bytes_in_another_process_too():
    code = "import sys; from headrace.samples import generate_trips as g; sys.stdout.buffer.write(g(500))"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert generate_trips(500) == again
    assert generate_trips(500, seed=1) != again


def test_some_trips_have_no_passengers_and_some_an_unknown_number():
    rows = rows_of(generate_trips())
    assert len(rows) == ROWS
    assert 0.01 < sum(row["passenger_count"] == "0" for row in rows) / ROWS < 0.03
    assert 0.005 < sum(row["passenger_count"] == "" for row in rows) / ROWS < 0.02


def test_trips_add_up_and_end_after_they_began():
    for row in rows_of(generate_trips(500)):
        parts = ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "congestion_surcharge")  # fmt: skip
        assert sum(float(row[name]) for name in parts) == pytest.approx(float(row["total_amount"]), abs=0.005)
        assert row["tpep_pickup_datetime"] < row["tpep_dropoff_datetime"]


@pytest.mark.may_skip
def test_the_columns_are_those_of_the_published_file_in_their_order():
    with gzip.open(real_file(FILE), "rt", newline="") as lines:
        assert tuple(next(csv.reader(lines))) == COLUMNS


async def test_the_server_gives_the_file_and_nothing_else_and_is_gone_afterwards():
    async with ClientSession() as session:
        async with serve_samples() as address:
            assert address.startswith("http://127.0.0.1:")
            async with session.get(f"{address}/{FILE}") as answer:
                assert await answer.read() == generate_trips()
            async with session.get(f"{address}/../{FILE}.bak") as answer:
                assert answer.status == 404
        port = int(address.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
