"""Tables that tests of the Postgres connector write and read."""

from __future__ import annotations

from typing import Any

import pandas as pd
from headrace.io import Postgres


def back(db: Postgres, frame: Any, **options: Any) -> pd.DataFrame:
    db.export(frame, "public", "t", **options)
    return db.load("SELECT * FROM t")


def sql_types(db: Postgres, table: str = "t") -> dict[str, str]:
    rows = db.load(f"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table}'")
    return dict(zip(rows["column_name"], rows["data_type"], strict=True))


def absent(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)
