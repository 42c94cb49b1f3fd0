"""What blocks may take, give and import, in whole runs: through storage and from one worker to the next."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from headrace.engine.views import RunView
from headrace.io import Postgres
from headrace.service import Headrace, open_headrace

from tests.support.profiles import write_profile
from tests.support.projects import write_pipeline, write_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "my-project")


@asynccontextmanager
async def opened(root: Path, database_url: str) -> AsyncIterator[Headrace]:
    async with open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url}) as headrace:
        yield headrace


async def run(headrace: Headrace, pipeline: str, **options) -> RunView:
    view = await headrace.finished(await headrace.create_run(pipeline, **options))
    assert view.status == "completed", [block.error for block in view.blocks if block.error]
    return view


async def value_of(headrace: Headrace, view: RunView, block: str, index: int = 0) -> object:
    _, parts = await headrace.output_parts(view.id, block, index)
    return json.loads(b"".join([part async for part in parts]))


RETURNED: Mapping[str, tuple[str, str]] = {
    "none": ("None", "got == []"),
    "no_items": ("[]", "got == []"),
    "one_item": ("[{'k': 1}]", "got == {'k': 1}"),
    "a_list_in_a_list": ("[[1, 2]]", "got == [1, 2]"),
    "two_items": ("[pd.DataFrame({'a': [1]}), 'yellow']", "got[0].equals(pd.DataFrame({'a': [1]})) and got[1] == 'yellow'"),
    "a_tuple": ("(1, None)", "got == [1, None]"),
    "twelve_items": ("list(range(12))", "got == list(range(12))"),
    "not_a_number": ("{'a': [math.nan, math.inf, -math.inf]}",
                     "math.isnan(got['a'][0]) and got['a'][1:] == [math.inf, -math.inf]"),
    "nul": ("{'\\0': 'a\\0b', 's': '\\ud800'}", "got == {'\\0': 'a\\0b', 's': '\\ud800'}"),
    "same_names": ("pd.DataFrame([[1, 2]], columns=['a', 'a'])", "list(got.columns) == ['a', 'a'] and got.iloc[0, 1] == 2"),
    "other_names": ("pd.DataFrame([[1, 2, 3]], columns=[None, 4, ('x', 'y')])", "list(got.columns) == [None, 4, ('x', 'y')]"),
    "text_with_nul": ("pd.DataFrame({'a': ['x\\0y', None]})", "got['a'][0] == 'x\\0y' and got['a'].isna()[1]"),
    "own_class": ("Point(3)", "got.x == 3"),
    "a_generator": ("(n for n in (1, 2))", "got == [1, 2]"),
}  # fmt: skip
"""What a block returns, and what must hold for the argument of the block after it."""

GIVES = """import math
import pandas as pd
from dataclasses import dataclass
@dataclass
class Point:
    x: int
@data_loader
def give():
    return {0}
"""
TAKES = """import math
import pandas as pd
@transformer
def take(got, **kwargs):
    assert {0}, got
"""


async def test_what_a_block_returns_arrives_as_mages_rules_say(root: Path, database_url: str) -> None:
    blocks: dict[str, Sequence[str]] = {}
    sources, types = {}, {}
    for name, (returned, holds) in RETURNED.items():
        blocks |= {name: (), f"after_{name}": (name,)}
        types |= {name: "data_loader", f"after_{name}": "transformer"}
        sources |= {name: GIVES.format(returned), f"after_{name}": TAKES.format(holds)}
    write_pipeline(root, "values", blocks, sources, types=types)
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "values")
        assert {block.uuid: block.outputs for block in view.blocks}["twelve_items"] == 12
        assert await value_of(headrace, view, "twelve_items", 11) == 11


MAGES = """
from mage_ai.data_preparation.decorators import {0}, test
from mage_ai.settings.repo import get_repo_path
from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.postgres import Postgres
from mage_ai.data_preparation.shared.secrets import get_secret_value
from default_repo.utils.words import HELLO
from os import path
import pandas as pd
"""


async def test_blocks_written_for_mage_run_as_they_are(root: Path, database_url: str, empty_database_url: str) -> None:
    loader = write_profile(root, empty_database_url)
    (root / "utils").mkdir()
    (root / "utils" / "words.py").write_text("HELLO = 'hello'\n")
    sources = {
        "load": MAGES.format("data_loader") + "@data_loader\ndef load_data(*args, **kwargs):\n"
        "    assert kwargs['env'] == 'prod' and kwargs['ds'] == kwargs['execution_date'].strftime('%Y-%m-%d')\n"
        "    return pd.DataFrame({'VendorID': [1, 2, 3], 'word': [HELLO] * 3})\n"
        "@test\ndef test_output(output, *args) -> None:\n    assert output is not None\n"
        "@test\ndef test_output(output, *args) -> None:\n    assert len(output) == 3\n",
        "keep": MAGES.format("transformer") + "@transformer\ndef transform(data, *args, **kwargs):\n"
        "    return data[data['VendorID'] != 2]\n",
        "export": MAGES.format("data_exporter") + "@data_exporter\n"
        "def export_data_to_postgres(df, **kwargs) -> None:\n"
        "    assert list(df.index) == [0, 2]\n"
        "    config_path = path.join(get_repo_path(), 'io_config.yaml')\n"
        "    with Postgres.with_config(ConfigFileLoader(config_path, 'default')) as loader:\n"
        "        loader.export(df, 'shop', 'rows', index=False, if_exists='replace')\n",
    }
    write_pipeline(
        root, "mage", {"load": (), "keep": ("load",), "export": ("keep",)}, sources,
        types={"load": "data_loader", "keep": "transformer", "export": "data_exporter"},
    )  # fmt: skip
    async with opened(root, database_url) as headrace:
        await run(headrace, "mage")
    with Postgres.with_config(loader, verbose=False) as database:
        rows = database.load("SELECT * FROM shop.rows ORDER BY vendorid")
    assert rows.to_dict("list") == {"vendorid": [1, 3], "word": ["hello", "hello"]}


async def test_sql_blocks_read_python_blocks_and_each_others_tables(
    root: Path, database_url: str, empty_database_url: str
) -> None:
    write_profile(root, empty_database_url)
    folder = write_pipeline(
        root,
        "sql",
        {"load": (), "sum_up": ("load",), "read": ("sum_up", "load"), "check": ("read",)},
        {
            "load": "import pandas as pd\n@custom\ndef f():\n    return pd.DataFrame({'Day': ['a', 'a', 'b']})\n",
            "check": "@custom\ndef f(rows):\n    return rows.to_dict('records')\n",
        },
        types={"sum_up": "transformer", "read": "transformer"},
        block_options={
            "sum_up": {"language": "sql", "configuration": {"export_write_policy": "replace", "limit": 1}},
            "read": {"language": "sql", "configuration": {"use_raw_sql": True}},
        },
    )
    for name in ("sum_up", "read"):
        (folder / f"{name}.py").unlink()
    (folder / "sum_up.sql").write_text("SELECT day, count(*)::smallint AS n FROM {{ df_1 }} GROUP BY day;\n")
    (folder / "read.sql").write_text(
        "SELECT s.day, n, pg_typeof(n)::text AS kind, (SELECT count(*)::int FROM {{ df_2 }}) AS rows\n"
        "FROM {{ df_1 }} AS s WHERE s.day = '{{ wanted }}' AND ';' = ';'"
    )
    async with opened(root, database_url) as headrace:
        view = await run(headrace, "sql", variables={"wanted": "a"})
        assert await value_of(headrace, view, "check") == {"day": "a", "n": 2, "kind": "smallint", "rows": 3}


async def test_a_block_run_that_is_cancelled_has_its_callback(root: Path, database_url: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    folder = write_pipeline(
        root,
        "long",
        {"a": ()},
        {"a": "import time\n@custom\ndef body():\n    time.sleep(60)\n"},
        options={"callbacks": [{"uuid": "tell", "type": "callback", "language": "python", "upstream_blocks": ["a"]}]},
    )
    (folder / "tell.py").write_text(
        "@callback('cancelled')\ndef gone(**kwargs):\n"
        f"    open({str(note)!r}, 'a').write(kwargs['parent_block_uuid'])\n"
    )
    async with opened(root, database_url) as headrace:
        number = await headrace.create_run("long")
        async for view in headrace.changes(number):
            if view.blocks[0].status == "running":
                await headrace.cancel(number)
                break
        assert (await headrace.finished(number)).status == "cancelled"
    assert note.read_text() == "a"
