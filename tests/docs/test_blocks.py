"""The code in the page on blocks runs, and what its table says of types is so."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from headrace.blocks import calling, context
from headrace.io import ConfigFileLoader, Postgres

from tests.support.checkout import ROOT
from tests.support.documents import code_in
from tests.support.profiles import settings_of

PAGE = ROOT / "docs" / "blocks.md"


@pytest.fixture
def loader(tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> ConfigFileLoader:
    monkeypatch.setattr(context, "_project", [str(tmp_path)])
    (tmp_path / "io_config.yaml").write_text(yaml.safe_dump({"dev": settings_of(empty_database_url)}))
    return ConfigFileLoader(profile="dev")


def test_the_blocks_on_the_page_run(loader: ConfigFileLoader) -> None:
    first, second = [code.text for code in code_in(PAGE) if code.language == "python"]
    load = calling.collect(first, "/load.py", "data_loader", {})
    outputs = calling.call_block(load, {}, {})
    assert calling.run_tests(load, outputs, {}).passed == 1
    export = calling.collect(second, "/export.py", "data_exporter", {"load": outputs})
    assert calling.call_block(export, {"load": outputs}, {}) == []
    with Postgres.with_config(loader, verbose=False) as database:
        pd.testing.assert_frame_equal(database.sample("shop", "trips"), outputs[0])


@pytest.mark.parametrize(
    ("dtype", "kind", "back"),
    [
        ("uint8", "smallint", "int16"),
        ("uint16", "integer", "int32"),
        ("uint32", "bigint", "int64"),
        ("Int64", "bigint", "Int64"),
        ("uint64", "numeric", "float64"),
        ("float32", "real", "float32"),
        ("bool", "boolean", "bool"),
        ("boolean", "boolean", "boolean"),
        ("str", "text", "str"),
        ("datetime64[ns]", "timestamp without time zone", "datetime64[us]"),
        ("datetime64[ns, Europe/Paris]", "timestamp with time zone", "datetime64[us, UTC]"),
        ("timedelta64[ns]", "interval", "timedelta64[us]"),
    ],
)
def test_a_type_is_what_the_table_says(loader: ConfigFileLoader, dtype: str, kind: str, back: str) -> None:
    values = [1, None] if dtype in ("Int64", "boolean") else [1000 if "[" in dtype else 1, 0]
    frame = pd.DataFrame({"v": pd.Series(values).astype("str") if dtype == "str" else pd.Series(values, dtype=dtype)})
    with Postgres.with_config(loader, verbose=False) as database:
        database.export(frame, "public", "t")
        assert database.load("SELECT pg_typeof(v)::text AS kind FROM t")["kind"][0] == kind
        assert str(database.load("SELECT v FROM t")["v"].dtype) == back
    page = PAGE.read_text()
    assert re.search(rf"\b{back.partition('[')[0]}\b", page)
