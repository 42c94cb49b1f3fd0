"""The projects that the measures run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

TRIVIAL = "@custom\ndef body(*args, **kwargs):\n    return 1\n"

LOAD = """
import pandas as pd

DTYPES = {
    'VendorID': pd.Int64Dtype(), 'passenger_count': pd.Int64Dtype(), 'trip_distance': float,
    'RatecodeID': pd.Int64Dtype(), 'store_and_fwd_flag': str, 'PULocationID': pd.Int64Dtype(),
    'DOLocationID': pd.Int64Dtype(), 'payment_type': pd.Int64Dtype(), 'fare_amount': float, 'extra': float,
    'mta_tax': float, 'tip_amount': float, 'tolls_amount': float, 'improvement_surcharge': float,
    'total_amount': float, 'congestion_surcharge': float,
}
DATES = ['tpep_pickup_datetime', 'tpep_dropoff_datetime']

@data_loader
def load(**kwargs):
    return pd.read_csv(kwargs['url'], compression='gzip', dtype=DTYPES, parse_dates=DATES)
"""
FILTER = """
@transformer
def drop(trips, *args, **kwargs):
    return trips[trips['passenger_count'] > 0]

@test
def none_without_passengers(trips, *args):
    assert trips['passenger_count'].eq(0).sum() == 0
"""
EXPORT = """
from headrace.io import ConfigFileLoader, Postgres

@data_exporter
def export(trips, **kwargs):
    with Postgres.with_config(ConfigFileLoader('io_config.yaml', 'dev')) as loader:
        loader.export(trips, 'bench', 'trips', index=False, if_exists='replace')
"""
PROFILE = "dev:\n" + "".join(
    f"  POSTGRES_{name}: {{{{ env_var('POSTGRES_{name}') }}}}\n"
    for name in ("DBNAME", "USER", "PASSWORD", "HOST", "PORT")
)


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A folder for one measure. A server may end after it and still write in it: that is no fault of the measure's."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def write_projects(root: Path) -> None:
    """A project with one block, a chain of 40 blocks, a fan of 100, and the taxi job."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.yaml").write_text("project_type: standalone\n")
    (root / "io_config.yaml").write_text(PROFILE)
    chain = {f"b{n:02d}": [f"b{n - 1:02d}"] if n else [] for n in range(40)}
    _write(root, "chain40", chain)
    _write(root, "single", {"only": []})
    leaves = [f"leaf{n:03d}" for n in range(100)]
    _write(root, "fan100", {"first": [], **{leaf: ["first"] for leaf in leaves}, "last": leaves})
    _write(
        root,
        "etl",
        {"load": [], "filter": ["load"], "export": ["filter"]},
        {"load": ("data_loader", LOAD), "filter": ("transformer", FILTER), "export": ("data_exporter", EXPORT)},
    )


def _write(
    root: Path, uuid: str, edges: dict[str, list[str]], sources: dict[str, tuple[str, str]] | None = None
) -> None:
    folder = root / "pipelines" / uuid
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for name, upstream in edges.items():
        kind, text = (sources or {}).get(name, ("custom", TRIVIAL))
        (folder / f"{name}.py").write_text(text)
        blocks.append({"uuid": name, "type": kind, "language": "python", "upstream_blocks": upstream})
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"uuid": uuid, "type": "python", "blocks": blocks}))
