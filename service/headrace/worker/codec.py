"""Values to bytes and back: Arrow for frames, JSON for plain values, cloudpickle for what those two would change.

Whatever a block returns comes back equal and of the same type, or the block is told that it cannot be stored.
"""

from __future__ import annotations

import json
import os
import sys
from collections import ChainMap
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO, IOBase, StringIO, TextIOWrapper
from typing import IO, Any, ClassVar

import cloudpickle
import pandas as pd
import pyarrow as pa
from msgspec import Raw
from pyarrow import ipc

from headrace.domain.errors import HeadraceError
from headrace.worker.fidelity import is_plain_json, survives_arrow
from headrace.worker.preview import preview_json
from headrace.worker.protocol import Codec, Output, OutputRef

ROWS_PER_BATCH = 65536
_MARK = b"headrace"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ZSTD = ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))


class UnstorableOutput(HeadraceError):
    """A block returned a value that neither Arrow, JSON nor pickle can write."""

    code = "unstorable-output"


class UnwritableOutput(HeadraceError):
    """An output's file cannot be written: its disk is full, or no files of that size are allowed."""

    code = "unwritable-output"


class UnreadableOutput(HeadraceError):
    """A stored output cannot be read back: its file is gone, or it names code that no longer exists."""

    code = "unreadable-output"


@dataclass(slots=True)
class _Written:
    codec: Codec
    size: int
    inline: bytes | None = None
    path: str | None = None
    rows: int | None = None


class _Spill:
    """Takes bytes in memory, and in a file once they are more than `limit`."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._memory = BytesIO()
        self._file: IO[bytes] | None = None
        self.size = 0
        self.fault: OSError | None = None
        """What the file's own writing raised: an object that is pickled may raise the like, too."""

    def write(self, data: Any) -> int:
        """Take one piece; pickle hands over bytes and buffers."""
        count = memoryview(data).nbytes
        self.size += count
        try:
            if self._file is None and self.size > self._limit:
                _make_folder(os.path.dirname(self._path))
                self._file = open(_partial(self._path), "wb")  # noqa: SIM115 - closed by finish or discard
                self._file.write(self._memory.getbuffer())
            (self._file or self._memory).write(data)
        except OSError as error:
            self.fault = error
            raise
        return count

    def finish(self, codec: Codec) -> _Written:
        """Close, and tell where the bytes are."""
        if self._file is None:
            return _Written(codec, self.size, inline=self._memory.getvalue())
        self._file.close()
        os.replace(_partial(self._path), self._path)
        return _Written(codec, self.size, path=self._path)

    def discard(self) -> None:
        """Remove what was written so far."""
        if self._file is not None:
            with suppress(OSError):  # what is left in its buffer finds no room either
                self._file.close()
            os.unlink(_partial(self._path))


def _make_folder(folder: str) -> None:
    """The folder of a run's files, with the first of them; the service's own, in which it lies, must be there."""
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def _partial(path: str) -> str:
    return path + ".partial"


def encode_output(value: Any, folder: str, name: str, inline_limit: int, index: int = 0) -> Output:
    """Write one output: in the answer up to `inline_limit` bytes, else to the file `folder/name`.

    Raises UnstorableOutput, naming the output's index and type, and UnwritableOutput.
    """
    path = os.path.join(folder, name)
    try:
        written = _write(value, path, inline_limit, index)
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(_partial(path))
        raise UnwritableOutput(
            f"output {index} cannot be written to {folder}: {error.strerror or error}.",
            remedy="Make room on that disk, or let HEADRACE_HOME name a folder on a larger one.",
        ) from error
    return Output(
        index, written.codec, written.size, written.inline, written.path, written.rows, Raw(preview_json(value))
    )


def is_faithful_as_is(value: Any) -> bool:
    """Tell whether reading `value` back cannot differ from `value`: immutable plain scalars."""
    return value is None or type(value) in (bool, int, float, str)


def _write(value: Any, path: str, limit: int, index: int) -> _Written:
    kind = type(value)
    if kind is pd.DataFrame:
        if survives_arrow(value):
            return _write_arrow(value, None, path, limit) or _write_pickle(value, path, limit, index)
    elif kind is pd.Series:
        if (framed := _framed(value)) is not None:
            mark = {"series": True, "name": value.name}
            return _write_arrow(framed, mark, path, limit) or _write_pickle(value, path, limit, index)
    elif is_plain_json(value) and (text := _json_bytes(value)) is not None:
        if len(text) <= limit:
            return _Written(Codec.JSON, len(text), inline=text)
        spill = _Spill(path, limit)
        spill.write(text)
        return spill.finish(Codec.JSON)
    return _write_pickle(value, path, limit, index)


def _json_bytes(value: Any) -> bytes | None:
    """JSON text, or None for what it cannot hold: lone surrogates, integers of thousands of digits."""
    try:
        return _JSON.encode(value).encode()
    except ValueError:
        return None


def _framed(series: pd.Series[Any]) -> pd.DataFrame | None:
    if series.name is not None and type(series.name) is not str:
        return None
    if series.attrs:
        return None
    framed = series.to_frame("__value__")
    return framed if survives_arrow(framed) else None


def _write_arrow(frame: pd.DataFrame, mark: Any, path: str, limit: int) -> _Written | None:
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    if mark is not None:
        table = table.replace_schema_metadata({**table.schema.metadata, _MARK: json.dumps(mark).encode()})
    if table.nbytes > 4 * limit:
        return _write_arrow_file(table, path)
    sink = pa.BufferOutputStream()
    _write_batches(table, sink)
    spill = _Spill(path, limit)
    spill.write(sink.getvalue())
    written = spill.finish(Codec.ARROW)
    written.rows = table.num_rows
    return written


def _write_arrow_file(table: pa.Table, path: str) -> _Written:
    _make_folder(os.path.dirname(path))
    with pa.OSFile(_partial(path), "wb") as sink:
        _write_batches(table, sink)
    os.replace(_partial(path), path)
    return _Written(Codec.ARROW, os.path.getsize(path), path=path, rows=table.num_rows)


def _write_batches(table: pa.Table, sink: Any) -> None:
    with ipc.new_file(sink, table.schema, options=_ZSTD) as writer:
        writer.write_table(table, max_chunksize=ROWS_PER_BATCH)


def _write_pickle(value: Any, path: str, limit: int, index: int) -> _Written:
    spill = _Spill(path, limit)
    try:
        _refuse_open_file(value)
        _Pickler(spill, protocol=5).dump(value)
    except MemoryError:
        spill.discard()
        raise
    except Exception as reason:  # a boundary: pickling runs the value's own code
        spill.discard()
        if spill.fault is not None:
            raise spill.fault from None
        raise UnstorableOutput(
            f"output {index} is a {_type_name(value)} and cannot be stored: {reason}.",
            remedy="Return a DataFrame, a Series, or numbers, strings, lists and dicts; for an open connection, file "
            "or generator return the data it gives, not the thing itself.",
        ) from reason
    written = spill.finish(Codec.PICKLE)
    written.rows = len(value.index) if isinstance(value, (pd.DataFrame, pd.Series)) else None
    return written


def _refuse_open_file(value: Any) -> None:
    if isinstance(value, IOBase) and not isinstance(value, (BytesIO, StringIO)):
        raise _open_file(value)


def _open_file(file: Any) -> TypeError:
    name = getattr(file, "name", None)
    return TypeError(
        f"the open file {name} cannot leave its process" if name else "an open file cannot leave its process"
    )


def _refuse_text_file(file: TextIOWrapper) -> Any:
    if file is sys.stdout or file is sys.stderr:  # whoever reads it has such streams of its own
        return cloudpickle.Pickler.dispatch_table[TextIOWrapper](file)
    raise _open_file(file)


def _refuse_memoryview(view: memoryview) -> Any:
    raise TypeError("a memoryview cannot leave its process, its bytes can: bytes(view)")


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, where it does not store one thing as another without a word: a file's text, a view's bytes."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {TextIOWrapper: _refuse_text_file, memoryview: _refuse_memoryview}, cloudpickle.Pickler.dispatch_table
    )


def _type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def decode_output(ref: OutputRef | Output) -> Any:
    """The value that a stored output holds. Raises UnreadableOutput.

    Arrow files are mapped, not read into memory first. Pickled bytes run code: only workers may call this.
    """
    try:
        return _decode(ref.codec, _source(ref))
    except FileNotFoundError as error:
        raise UnreadableOutput(
            f"the stored output {ref.path} is gone.", remedy="Run the block upstream again."
        ) from error


def _source(ref: OutputRef | Output) -> Any:
    if ref.inline is not None:
        return ref.inline
    if ref.path is None:
        raise UnreadableOutput("a stored output has neither bytes nor a file.", remedy="Run the block upstream again.")
    if os.path.getsize(ref.path) == 0:
        return b""
    return pa.memory_map(ref.path)


def _decode(codec: Codec, source: Any) -> Any:
    if codec is Codec.ARROW:
        return _decode_arrow(source)
    data = source if isinstance(source, bytes) else source.read_buffer()
    if codec is Codec.JSON:
        return json.loads(bytes(data).decode())
    try:
        return cloudpickle.loads(data)
    except (AttributeError, ImportError) as error:
        raise UnreadableOutput(
            f"a stored output needs code that is not there: {error}.",
            remedy="Restore the module or run the block upstream again.",
        ) from error


def _decode_arrow(source: Any) -> Any:
    table = ipc.open_file(source).read_all()
    mark = (table.schema.metadata or {}).get(_MARK)
    frame = table.to_pandas()
    if mark is None:
        return frame
    series = frame["__value__"]
    series.name = json.loads(mark)["name"]
    return series
