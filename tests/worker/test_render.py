"""An output in other formats: nothing is changed without a word, and what cannot be written is told."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from headrace.worker.codec import encode_output
from headrace.worker.render import main

UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=2))


@pytest.fixture
def render(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    def rendered(value: Any, form: str = "json") -> tuple[int, bytes, str]:
        limit = sys.get_int_max_str_digits()
        stored = encode_output(value, str(tmp_path), "stored", 0)
        code = main([str(stored.path), "--codec", str(stored.codec), "--format", form])
        sys.set_int_max_str_digits(limit)
        out, told = capfdbinary.readouterr()
        return code, out, told.decode()

    return rendered


def strict(text: bytes) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text.decode(), parse_constant=refuse)


def moment(hour: int, zone: datetime.tzinfo | None = None) -> datetime.datetime:
    return datetime.datetime(2021, 1, 1, hour, 0, 0, 123456, tzinfo=zone)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([0.12345678901234567, 1e-12, 1e300, -0.0], [0.12345678901234567, 1e-12, 1e300, -0.0]),
        ([math.inf, -math.inf, math.nan, 1.5], [None, None, None, 1.5]),
        ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ([2**70, 1], [2**70, 1]),
        ([moment(3), moment(4)], ["2021-01-01T03:00:00.123456", "2021-01-01T04:00:00.123456"]),
        ([moment(3, EAST)], ["2021-01-01T03:00:00.123456+02:00"]),
        ([moment(3, UTC), None], ["2021-01-01T03:00:00.123456+00:00", None]),
        ([pd.Timestamp("2021-01-01T00:00:00.000000001")], ["2021-01-01T00:00:00.000000001"]),
        ([datetime.date(2021, 1, 2)], ["2021-01-02"]),
        ([datetime.time(1, 2, 3, 4)], ["01:02:03.000004"]),
        ([datetime.timedelta(days=1, microseconds=1)], ["P1DT0H0M0.000001S"]),
        ([decimal.Decimal("1.10")], ["1.10"]),
        ([b"\xff\x00"], ["/wA="]),
        (pd.Series(["a\x00b", "ü\u2028", "\ud800"], dtype=object), ["a\x00b", "ü\u2028", "\ud800"]),
        ([True, None], [True, None]),
        ([{"x": [math.nan, (1, 2)]}, None], [{"x": [None, [1, 2]]}, None]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
        (pd.Categorical(["a", None]), ["a", None]),
        ([np.array([1.5, np.inf])], [[1.5, None]]),
    ],
)
def test_cells_keep_their_values_in_json(render, cells, expected):
    code, out, told = render(pd.DataFrame({"c": cells}))
    assert (code, told) == (0, "")
    assert [record["c"] for record in strict(out)] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": math.nan, "b": [math.inf]}, {"a": None, "b": [None]}),
        ({(1, "x"): 1, 2: 2, None: 3, datetime.date(2021, 1, 1): 4}, {"(1, 'x')": 1, "2": 2, "null": 3, "2021-01-01": 4}),
        ({"f": pd.DataFrame({"a": [moment(1, EAST)]})}, {"f": [{"a": "2021-01-01T01:00:00.123456+02:00"}]}),
        ({"s": {3}, "b": b"ab", "n": np.int64(3), "u": np.float32(0.5)}, {"s": [3], "b": "YWI=", "n": 3, "u": 0.5}),
        (np.datetime64("2021-01-01T00:00:00.5"), "2021-01-01T00:00:00.500000"),
        pytest.param(10**5000, 10**5000, id="digits"),
        ("\x00", "\x00"),
        (None, None),
    ],
)  # fmt: skip
def test_other_values_have_the_same_forms(render, value, expected):
    limit = sys.get_int_max_str_digits()
    code, out, told = render(value)
    assert (code, told) == (0, "")
    sys.set_int_max_str_digits(0)
    assert strict(out) == expected
    sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    ("index", "first"),
    [
        (pd.RangeIndex(2), {}),
        (pd.Index([5, 7]), {"index": 5}),
        (pd.Index(["x", "y"], name="key"), {"key": "x"}),
        (pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", None]), {"k": "x", "level_1": 1}),
    ],
)
def test_an_index_comes_first_in_json_as_in_csv(render, index, first):
    frame = pd.DataFrame({"a": [1, 2], 3: [4, 5], ("t", 1): [6, 7]}, index=index)
    _, out, _ = render(frame)
    assert list(strict(out)[0].items()) == [*first.items(), ("a", 1), ("3", 4), ("('t', 1)", 6)]
    _, csv, _ = render(frame, "csv")
    assert csv.decode().splitlines()[1].split(",") == [str(cell) for cell in [*first.values(), 1, 4, 6]]


def test_a_long_frame_is_one_list(render):
    _, out, _ = render(pd.DataFrame({"a": range(25_001)}))
    assert [record["a"] for record in strict(out)] == list(range(25_001))
    assert strict(render(pd.DataFrame({"a": []}))[1]) == []
    assert strict(render(pd.DataFrame(index=range(2)))[1]) == [{}, {}]


def twice(names: list[Any]) -> pd.DataFrame:
    return pd.DataFrame([[1, 2]], columns=names)


def holding_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Hidden:
    def __repr__(self) -> str:
        raise KeyError("no text")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "form", "part"),
    [
        (twice(["a", "a"]), "json", "Two columns would both be called 'a' in JSON.\n→ Ask for csv"),
        (twice([1, "1"]), "json", "both be called '1'"),
        (pd.DataFrame({"index": [1, 2]}, index=[3, 4]), "json", "both be called 'index'"),
        ({1: 0, "1": 0}, "json", "Two keys of an object would both be '1'"),
        (holding_itself(), "json", "holds itself"),
        (Hidden(), "json", "KeyError"),
        (twice(["a", "a"]), "parquet", "no parquet form"),
        (pd.DataFrame({"a": [1, "x", b"y"]}), "parquet", "no parquet form"),
        (3, "csv", "A int has no csv form"),
    ],
)
def test_what_has_no_such_form_is_told_and_not_written(render, value, form, part):
    code, out, told = render(value, form)
    assert (code, out) == (2, b"")
    assert told.startswith("error[")
    assert part in told
    assert "Traceback" not in told


def test_two_columns_of_one_name_are_written_as_csv(render):
    assert render(twice(["a", "a"]), "csv") == (0, b"a,a\n1,2\n", "")


def test_a_lone_surrogate_is_written_as_csv(render):
    assert render(pd.DataFrame({"a": ["\ud800"]}, dtype=object), "csv") == (0, b"a\n\\ud800\n", "")
