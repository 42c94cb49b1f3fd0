"""Tables in files: what goes out comes back."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from headrace.blocks import context
from headrace.blocks.io.base import ConnectorFault
from headrace.io import FileFormat, FileIO

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "ü"]})
NAMES = ["t.csv", "t.csv.gz", "t.tsv", "t.json", "t.jsonl", "t.jsonl.gz", "t.parquet", "t.xml", "new/folder/t.csv"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(context, "_project", [str(tmp_path)])
    return tmp_path


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    files = FileIO(verbose=False)
    assert not files.exists(tmp_path / name)
    files.export(FRAME, tmp_path / name)
    pd.testing.assert_frame_equal(files.load(tmp_path / name), FRAME)
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_table_is_read_from_an_address(tmp_path: Path, address: str, name: str) -> None:
    files = FileIO(verbose=False)
    files.export(FRAME, tmp_path / name)
    pd.testing.assert_frame_equal(files.load(f"{address}/{name}?v=1.2"), FRAME)


@pytest.mark.parametrize("given", ["csv", FileFormat.CSV, "CSV"])
def test_the_format_can_be_told(tmp_path: Path, given: str) -> None:
    files = FileIO(verbose=False)
    files.export(FRAME, tmp_path / "table", format=given)
    pd.testing.assert_frame_equal(files.load(tmp_path / "table", given), FRAME)
    with pytest.raises(ConnectorFault, match="No known format"):
        files.load(tmp_path / "table")


def test_options_go_to_pandas(tmp_path: Path) -> None:
    files = FileIO(verbose=False)
    files.export(FRAME, tmp_path / "t.csv", sep=";", header=False)
    assert (tmp_path / "t.csv").read_text() == "1;x\n2;ü\n"
    assert list(files.load(tmp_path / "t.csv", sep=";", names=["p", "q"])) == ["p", "q"]


def test_a_relative_path_is_in_the_project(project: Path) -> None:
    FileIO(verbose=False).export(FRAME, "data/t.csv")
    assert (project / "data" / "t.csv").exists()
    assert FileIO(verbose=False).exists("data/t.csv")


def test_the_files_of_folders_are_put_one_below_the_other(project: Path) -> None:
    files = FileIO(verbose=False)
    files.export(FRAME, "one/b.csv")
    files.export(FRAME.assign(a=0), "one/a.json")
    files.export(FRAME, "two/c.csv")
    found = files.load(file_directories=["one", "two"])
    assert list(found["a"]) == [0, 0, 1, 2, 1, 2]
    assert list(found.index) == list(range(6))
    with pytest.raises(ConnectorFault, match="no file to load"):
        files.load(file_directories=[])


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    files = FileIO(verbose=False)
    files.export(FRAME, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"(?i)convert|conversion"):
        files.export(pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)}), tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(files.load(tmp_path / "t.parquet"), FRAME)
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_of_folders_only_the_files_of_the_format_that_is_told_are_read(project: Path) -> None:
    (project / "mixed").mkdir()
    (project / "mixed" / "a.csv").write_text("n\n1\n")
    (project / "mixed" / "b.jsonl").write_text('{"n": 2}\n')
    (project / "mixed" / "c").write_text("n\n3\n")
    assert FileIO(verbose=False).load(file_directories=["mixed"], format="csv")["n"].tolist() == [1, 3]


def test_an_address_that_refuses_is_named() -> None:
    with closed_port() as port, pytest.raises(ConnectorFault, match=f"http://127.0.0.1:{port}/a.csv cannot be read"):
        FileIO(verbose=False).load(f"http://127.0.0.1:{port}/a.csv")


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that is taken, and where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectorFault, match=r"nowhere\.csv"):
        FileIO(verbose=False).load(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(("name", "package"), [("t.xlsx", "openpyxl"), ("t.h5", "tables")])
def test_a_format_that_needs_a_package_names_it(
    tmp_path: Path, name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ConnectorFault, match=package):
        FileIO(verbose=False).export(FRAME, tmp_path / name)
