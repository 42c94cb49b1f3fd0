"""The table of faults in docs/chaos.md, and what is wrong between it and the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_FILE = re.compile(r"`(tests/[\w/]+\.py)`(?::((?:,? `test_\w+`)+))?")
_NUMBERS = re.compile(r"\bFaults? (\d+(?:(?:, | and )\d+)*)")
_NAME = re.compile(r"test_fault_(\d+)_")


@dataclass(frozen=True, slots=True)
class Row:
    """One fault of the table: the files that try it, each with the tests that the table names of it."""

    number: int
    told: str
    files: Mapping[str, tuple[str, ...]]


def rows_of(page: str) -> list[Row]:
    """The rows of the table."""
    return [Row(int(number), told, _files(tried)) for number, told, tried in _ROW.findall(page)]


def _files(cell: str) -> dict[str, tuple[str, ...]]:
    return {file: tuple(re.findall(r"test_\w+(?=`)", tests)) for file, tests in _FILE.findall(cell)}


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a test file says of itself."""

    tests: frozenset[str]
    docstring: str

    @classmethod
    def read(cls, source: str) -> ReadFile:
        tree = ast.parse(source)
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        tests = frozenset(function.name for function in functions if function.name.startswith("test_"))
        return cls(tests, " ".join((ast.get_docstring(tree) or "").split()))

    @property
    def numbers(self) -> set[int]:
        """The faults that it says it tries: in names of tests, and in its first docstring."""
        named = {int(found[1]) for test in self.tests if (found := _NAME.match(test))}
        return named | {int(number) for told in _NUMBERS.findall(self.docstring) for number in re.findall(r"\d+", told)}


def index_faults(page: str, sources: Mapping[str, str]) -> list[str]:
    """Everything in which the table and the tests (path to source) disagree."""
    rows, files = rows_of(page), {path: ReadFile.read(source) for path, source in sources.items()}
    numbers = [row.number for row in rows]
    found = [
        f"fault {number} stands in the table more than once" for number in set(numbers) if numbers.count(number) > 1
    ]
    for row in rows:
        found += _row_faults(row, files)
    listed = {(row.number, file) for row in rows for file in row.files}
    for file, read in files.items():
        for number in sorted(read.numbers):
            if number not in numbers:
                found.append(f"{file} names fault {number}, which the table does not know")
            elif (number, file) not in listed:
                found.append(f"{file} names fault {number}, and the table does not name {file} there")
    return found


def _row_faults(row: Row, files: Mapping[str, ReadFile]) -> Iterator[str]:
    if not row.files:
        yield f"fault {row.number} has no test"
    for path, tests in row.files.items():
        if path not in files:
            yield f"fault {row.number} points to {path}, which is not there"
        elif not tests and row.number not in files[path].numbers:
            yield f"fault {row.number} points to {path}, which does not name it"
        else:
            missing = (test for test in tests if test not in files[path].tests)
            yield from (f"fault {row.number} points to {test}, which is not in {path}" for test in missing)
