"""Every fault of the table in docs/chaos.md has its tests, and tests name no other fault."""

from __future__ import annotations

import pytest

from tests.chaos.index import ReadFile, index_faults, rows_of
from tests.support.checkout import ROOT

PAGE = (ROOT / "docs" / "chaos.md").read_text()
MISSING = {14, 32, 40}
"""Faults of parts that are not tried here yet, or that Headrace has not yet: the page says which and why."""


def sources() -> dict[str, str]:
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths if "fixtures" not in path.parts}


def test_the_table_and_the_tests_agree():
    assert index_faults(PAGE, sources()) == []


def test_no_fault_is_left_out_without_a_word():
    assert {row.number for row in rows_of(PAGE)} | MISSING == set(range(1, 51))


GOOD = "| 1 | it dies | `tests/chaos/test_a.py`; `tests/test_b.py`: `test_one`, `test_two` |\n"
FILES = {
    "tests/chaos/test_a.py": "async def test_fault_01_it_lives(): ...\n",
    "tests/test_b.py": "def test_one(): ...\ndef test_two(): ...\n",
}


@pytest.mark.parametrize(
    ("page", "files", "told"),
    [
        (GOOD, FILES, []),
        ("| 1 | it dies | nobody |\n", {}, ["fault 1 has no test"]),
        (GOOD + "| 2 | more | `tests/chaos/test_a.py` |\n", FILES, ["fault 2 points to tests/chaos/test_a.py, which does not name it"]),
        (GOOD, {**FILES, "tests/test_b.py": "def test_one(): ...\n"}, ["fault 1 points to test_two, which is not in tests/test_b.py"]),
        (GOOD, {"tests/chaos/test_a.py": FILES["tests/chaos/test_a.py"]}, ["fault 1 points to tests/test_b.py, which is not there"]),
        (
            GOOD,
            {**FILES, "tests/chaos/test_c.py": "def test_fault_51_what(): ...\n"},
            ["tests/chaos/test_c.py names fault 51, which the table does not know"],
        ),
        (
            GOOD,
            {**FILES, "tests/chaos/test_c.py": '"""Fault 1, again."""\n'},
            ["tests/chaos/test_c.py names fault 1, and the table does not name tests/chaos/test_c.py there"],
        ),
        (GOOD * 2, FILES, ["fault 1 stands in the table more than once"]),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_told(page: str, files: dict[str, str], told: list[str]):
    assert index_faults(page, files) == told


def test_numbers_are_read_from_names_and_from_the_first_docstring():
    source = '"""Faults 1, 2 and\n16 mixed, then\nFault 21."""\ndef test_fault_05_of_10(): ...\n'
    assert ReadFile.read(source).numbers == {1, 2, 16, 21, 5}
