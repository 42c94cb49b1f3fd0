"""Write a stored output to standard output in a form for people or for other programs.

`python -m headrace.worker.render --codec arrow --format csv --project FOLDER FILE`. It is a program of its own because
reading a pickled output runs code, which must not happen in the service or in the command line's process.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa

from headrace.domain.errors import HeadraceError
from headrace.worker.binding import Binding
from headrace.worker.codec import decode_output
from headrace.worker.json_form import json_parts
from headrace.worker.protocol import Codec, OutputRef


class NotTabular(HeadraceError):
    """A value that is no table was asked for in a format that only tables have."""

    code = "not-tabular"


class NoSuchForm(HeadraceError):
    """A value cannot be written in the format that was asked for."""

    code = "no-such-form"


def main(arguments: Sequence[str] | None = None) -> int:
    """Render one output; 0 when written, 2 when it cannot be read or has no such form."""
    asked = _parser().parse_args(arguments)
    sys.set_int_max_str_digits(0)
    if asked.project:
        Binding().bind(asked.project)  # a pickled value may be of a class that the project defines
    try:
        value = decode_output(OutputRef(Codec(asked.codec), path=asked.file))
        FORMATS[asked.format](_limited(value, asked.rows), sys.stdout.buffer)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
    except HeadraceError as error:
        return _refused(error)
    except Exception as error:  # a boundary: values run their own code when they are unpickled and when they are shown
        told = f"The output cannot be written as {asked.format}: {type(error).__name__}: {error}"
        return _refused(NoSuchForm(told, remedy="Ask for another format."))
    return 0


def _refused(error: HeadraceError) -> int:
    remedy = f"\n→ {error.remedy}" if error.remedy else ""
    sys.stderr.write(f"error[{error.code}]: {error.message}{remedy}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headrace.worker.render")
    parser.add_argument("file")
    parser.add_argument("--codec", required=True, choices=[codec.value for codec in Codec])
    parser.add_argument("--format", default="table", choices=sorted(FORMATS))
    parser.add_argument("--project", default="")
    parser.add_argument("--rows", type=int, default=None)
    return parser


def _limited(value: Any, rows: int | None) -> Any:
    return value if rows is None or not isinstance(value, (pd.DataFrame, pd.Series)) else value.iloc[:rows]


def _frame(value: Any, form: str) -> pd.DataFrame:
    if isinstance(value, pd.Series):
        return value.to_frame(name=value.name if value.name is not None else "value")
    if not isinstance(value, pd.DataFrame):
        raise NotTabular(f"A {type(value).__qualname__} has no {form} form.", remedy="Ask for table or json.")
    return value


def _write_table(value: Any, sink: BinaryIO) -> None:
    text = (
        _frame(value, "table").to_string(max_rows=60) if isinstance(value, (pd.DataFrame, pd.Series)) else repr(value)
    )
    sink.write(text.encode("utf-8", "replace") + b"\n")


def _write_csv(value: Any, sink: BinaryIO) -> None:
    frame = _frame(value, "csv")
    frame.to_csv(sink, index=not isinstance(frame.index, pd.RangeIndex), errors="backslashreplace")


def _write_parquet(value: Any, sink: BinaryIO) -> None:
    frame = _frame(value, "parquet")
    try:
        written = frame.to_parquet()
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise NoSuchForm(f"The table has no parquet form: {error}", remedy="Ask for csv.") from error
    sink.write(written)


def _write_json(value: Any, sink: BinaryIO) -> None:
    sink.writelines(json_parts(value))
    sink.write(b"\n")


FORMATS: dict[str, Callable[[Any, BinaryIO], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "parquet": _write_parquet,
    "json": _write_json,
}

if __name__ == "__main__":
    sys.exit(main())
