"""Values come back from storage equal and of the same type, or are refused by name."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from headrace.worker.codec import UnstorableOutput, decode_output, encode_output
from headrace.worker.preview import preview_of
from headrace.worker.protocol import Codec, OutputRef
from hypothesis import given, settings
from hypothesis import strategies as st

D = decimal.Decimal


def stored(value: Any, folder: Path, limit: int = 65536) -> tuple[Any, Codec]:
    output = encode_output(value, str(folder), "out", limit)
    return decode_output(OutputRef(output.codec, output.inline, output.path)), output.codec


@pytest.mark.parametrize("value", [pd.DataFrame({"a": range(100_000)}), "x" * 100_000, {1, *range(20_000)}])
def test_the_folder_of_large_outputs_is_made_with_the_first_one(tmp_path: Path, value: Any) -> None:
    folder = tmp_path / "run"
    encode_output(1, str(folder), "small", 100)
    assert not folder.exists()
    output = encode_output(value, str(folder), "out", 100)
    assert output.path == str(folder / "out")
    assert folder.stat().st_mode & 0o777 == 0o700


def obj(*values: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Series(list(values), dtype=object)})


def col(values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.array(values, dtype=dtype) if dtype else values})


WITH_ATTRS = pd.DataFrame({"a": [1]})
WITH_ATTRS.attrs.update(source="x", parts=[1, 2])

ARROW = {
    "Int64": col([1, None], "Int64"),
    "Float64": col([1.5, None], "Float64"),
    "boolean": col([True, None], "boolean"),
    "str": col(["a", None]),
    "string": col(["a", None], "string"),
    "ordered categories, one unused": col(pd.Categorical(["x", None], categories=["z", "x"], ordered=True)),
    "time zone": col(pd.to_datetime(["2020-01-01", None]).tz_localize("Europe/Paris")),
    "seconds": col(np.array(["2020-01-01", "NaT"], dtype="M8[s]")),
    "timedelta": col(np.array([1, 2], dtype="m8[ms]")),
    "period": col(pd.period_range("2020", periods=2, freq="M")),
    "interval": col(pd.interval_range(0, 2)),
    "decimal": obj(D("1.50"), None, D("2.25")),
    "date": obj(dt.date(2020, 1, 1), None),
    "bytes": obj(b"x", None),
    "multi-index": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("p", 1), ("q", 2)], names=["x", None])
    ),
    "range index": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(4, 8, 2, name="r")),
    "filtered index": pd.DataFrame({"a": [1, 2, 3]}).iloc[[0, 2]],
    "column name": pd.DataFrame([[1]], columns=pd.Index(["a"], name="n")),
    "attrs": WITH_ATTRS,
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int64"), "b": pd.Series([], dtype="str")}),
    "NaN and infinity": col([math.nan, math.inf, -math.inf, -0.0]),
}
PICKLED = {
    "object strings": obj("a", None),
    "int and None": obj(1, None),
    "sets": obj({1}, {2}),
    "lists": obj([1], [2, 3]),
    "tuples": obj((1, 2), (3,)),
    "dicts of other keys": obj({"a": 1}, {"b": 2}),
    "mixed": obj(1, "a", 2.5),
    "booleans as objects": obj(True, False),
    "uuid": obj(uuid.UUID(int=5)),
    "decimals of two scales": obj(D("1.5"), D("1.50")),
    "decimal NaN": obj(D("1.5"), D("NaN")),
    "frequency": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2020", periods=2, freq="D")),
    "sparse": col(pd.arrays.SparseArray([0, 0, 1])),
    "complex": col([1 + 2j]),
    "cut": pd.DataFrame({"a": pd.cut(pd.Series([1, 2, 3]), 2)}),
    "duplicate names": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "number names": pd.DataFrame([[1, 2]]),
    "two-level names": pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
    "object names": pd.DataFrame([[1]], columns=pd.Index(["a"], dtype=object)),
    "masked index": pd.DataFrame({"a": [1]}, index=pd.Index([1], dtype="Int64")),
    "index named as a column": pd.DataFrame({"a": [1]}, index=pd.Index([3], name="a")),
    "python strings": col(["a"], pd.StringDtype("python")),
    "arrow list": col([[1], None], pd.ArrowDtype(pa.list_(pa.int64()))),
    "no columns": pd.DataFrame(index=[1, 2]),
    "big endian": col(np.array([1, 2], dtype=">i4")),
    "reserved name": pd.DataFrame({"__index_level_0__": [1]}, index=[7]),
}


def assert_same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_freq=True, check_exact=True)
    assert [str(x) for x in left.dtypes] == [str(x) for x in right.dtypes]
    assert all(type(x) is type(y) for x, y in zip(left.to_numpy().flat, right.to_numpy().flat, strict=True))
    assert [repr(x) for x in left.to_numpy().flat] == [repr(x) for x in right.to_numpy().flat]
    assert left.attrs == right.attrs


@pytest.mark.parametrize("name", ARROW)
@pytest.mark.parametrize("limit", [0, 65536], ids=["file", "inline"])
def test_arrow_gives_a_frame_back_exactly(name: str, limit: int, tmp_path: Path) -> None:
    back, codec = stored(ARROW[name], tmp_path, limit)
    assert codec is Codec.ARROW
    assert_same(ARROW[name], back)


@pytest.mark.parametrize("name", PICKLED)
def test_a_frame_that_arrow_would_change_is_pickled(name: str, tmp_path: Path) -> None:
    back, codec = stored(PICKLED[name], tmp_path)
    assert codec is Codec.PICKLE
    assert_same(PICKLED[name], back)


@pytest.mark.parametrize("name", [None, "fare", 5])
def test_a_series_comes_back_with_its_name_and_index(name: Any, tmp_path: Path) -> None:
    series = pd.Series([1, 2], name=name, index=pd.Index(["x", "y"], name="i"))
    back, _ = stored(series, tmp_path)
    pd.testing.assert_series_equal(series, back)


def test_a_frame_read_back_can_be_changed_in_place(tmp_path: Path) -> None:
    back, _ = stored(pd.DataFrame({"a": [1.0, 2.0]}), tmp_path, 0)
    back.loc[0, "a"] = 9.0
    assert back["a"].tolist() == [9.0, 2.0]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=150, deadline=None)
@given(plain)
def test_plain_values_come_back_equal_by_repr(value: Any) -> None:
    back, codec = stored(value, Path("."), 1 << 30)
    assert codec is Codec.JSON
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "a"}, {1, 2}, np.int64(3), b"x", dt.time(1, 2), "\ud800", 10**5000, [(1,)], True + 0j],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_would_change_are_pickled(value: Any, tmp_path: Path) -> None:
    back, codec = stored(value, tmp_path)
    assert codec is Codec.PICKLE
    assert type(back) is type(value)
    assert back == value


@dataclass
class Report:
    title: str
    source: object


@pytest.mark.parametrize("hold", [
    lambda file: {"file": file}, lambda file: [1, {2: [file]}], lambda file: Report("r", file), lambda file: lambda: file,
], ids=["dict", "nested", "object", "closure"])  # fmt: skip
def test_an_open_file_within_a_value_is_refused_and_named(tmp_path: Path, hold: Callable[[Any], Any]) -> None:
    (tmp_path / "trips.csv").write_text("a,b")
    told = r"the open file .*trips\.csv cannot leave its process"
    with (tmp_path / "trips.csv").open() as file, pytest.raises(UnstorableOutput, match=told) as caught:
        encode_output(hold(file), str(tmp_path), "out", 65536)
    assert "return the data it gives" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["trips.csv"]


def test_a_memoryview_within_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnstorableOutput, match=r"bytes\(view\)"):
        encode_output([memoryview(b"ab")], str(tmp_path), "out", 65536)


def test_the_standard_streams_are_those_of_the_reader(tmp_path: Path, monkeypatch) -> None:
    with (tmp_path / "printed").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert stored(Report("r", file), tmp_path)[0].source is file


def test_an_open_file_is_refused_with_its_index_and_type(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file, pytest.raises(UnstorableOutput, match=r"output 3 is a _io\.TextIOWrapper"):
        encode_output(file, str(tmp_path), "out", 10, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def test_bytes_over_the_limit_go_to_a_file_and_none_is_left_partial(tmp_path: Path) -> None:
    output = encode_output("x" * 1000, str(tmp_path), "out", 999)
    assert (output.inline, output.path, output.bytes) == (None, str(tmp_path / "out"), 1002)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("value", "rows"), [(obj(1, "x"), 2), (obj(1, "x")["a"], 2), ({1, 2}, None)])
def test_a_pickled_frame_tells_its_rows(value: Any, rows: int | None, tmp_path: Path) -> None:
    output = encode_output(value, str(tmp_path), "out", 65536)
    assert (output.codec, output.rows) == (Codec.PICKLE, rows)


def test_a_preview_is_strict_json_without_nul_and_within_its_size() -> None:
    texts = pd.Series(["a\x00b", "\ud83d" * 400] * 5000, dtype=object)
    frame = pd.DataFrame({"f": [math.nan, math.inf] * 5000, "s": texts, "i": [2**60, 1] * 5000})
    preview = preview_of(frame)
    text = json.dumps(preview, allow_nan=False)
    assert "\\u0000" not in text
    assert "\\ud83d" not in text
    assert len(text) < 300_000
    assert preview["row_count"] == 10_000
    assert preview["rows"][0] == [None, "a\ufffdb", str(2**60)]
    assert preview["rows"][1][0] == "inf"


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_value_whose_repr_raises_has_a_preview() -> None:
    assert "RuntimeError" in preview_of(Unshowable())["text"]
