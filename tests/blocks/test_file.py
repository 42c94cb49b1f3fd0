"""Tables in files: what goes out comes back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from headrace.blocks.io.base import ConnectorFault
from headrace.io import FileIO

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.json", "t.jsonl", "t.parquet", "new/folder/t.csv"])
def test_a_table_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    files = FileIO(verbose=False)
    assert not files.exists(tmp_path / name)
    files.export(FRAME, tmp_path / name)
    pd.testing.assert_frame_equal(files.load(tmp_path / name), FRAME)
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_the_format_can_be_told(tmp_path: Path) -> None:
    files = FileIO(verbose=False)
    files.export(FRAME, tmp_path / "table", format="csv")
    pd.testing.assert_frame_equal(files.load(tmp_path / "table", "csv"), FRAME)
    with pytest.raises(ConnectorFault, match="No known format"):
        files.load(tmp_path / "table")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectorFault, match=r"nowhere\.csv"):
        FileIO(verbose=False).load(tmp_path / "nowhere.csv")
