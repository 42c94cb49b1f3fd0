"""What the service and a worker say to each other.

A message is a 4-byte big-endian length and that many bytes of JSON, over a Unix stream socket. Frames never travel in
messages: they lie in files that the next worker maps, and messages name them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Codec(StrEnum):
    """How an output's bytes are written."""

    ARROW = "arrow"
    """Arrow IPC file, zstd, with pandas metadata: DataFrames and Series."""
    JSON = "json"
    """UTF-8 JSON text: None, booleans, numbers, strings, lists and dicts that come back equal."""
    PICKLE = "pickle"
    """cloudpickle, for what the others would change silently. Only workers ever unpickle."""


class Outcome(StrEnum):
    """How one call of a block ended."""

    COMPLETED = "completed"
    """The function returned, its tests passed, its outputs are written."""
    FAILED = "failed"
    """The block, one of its tests or the writing of its outputs raised; or the worker died."""
    CONDITION_FALSE = "condition_false"
    """A condition of the block was false or raised; the block's function was not called."""
    WAITING = "waiting"
    """A sensor's function returned a false value: look again later."""


class Mode(StrEnum):
    """What a call asks for."""

    RUN = "run"
    """Conditions, then the block's function, then its tests."""
    LOOK = "look"
    """One look of a sensor for its triggers; its events are delivered by questions while the call is under way."""
    TEST = "test"
    """Only the block's tests, on outputs given as `inputs`."""
    CALLBACK = "callback"
    """The callbacks in the block's source that match `outcome`."""


@dataclass(frozen=True, slots=True)
class OutputRef:
    """Where the bytes of one output are: base64 in `inline`, or in the file `path`."""

    codec: Codec
    inline: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """The stored outputs of one upstream block, in order."""

    block: str
    outputs: tuple[OutputRef, ...] = ()
    sql: Mapping[str, Any] | None = None
    """The block's configuration if it is a SQL block: another SQL block reads the table that it made."""


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A source to execute: `path` is absolute and is what tracebacks show."""

    uuid: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one block in a worker."""

    id: int
    mode: Mode
    project: str
    """Absolute path of the project's folder."""
    pipeline: str
    block: str
    block_type: str
    language: str
    code: CodeRef
    inputs: tuple[Input, ...] = ()
    conditions: tuple[CodeRef, ...] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments as JSON values; a datetime is written `{"$datetime": "<ISO 8601>"}`."""
    run: int | None = None
    attempt: int = 1
    outcome: str | None = None
    """For a callback: success, failure or cancelled."""
    error: str | None = None
    """For a failure's callback: the error's text."""
    output_folder: str = ""
    """Where files of outputs are written, existing and ours alone."""
    inline_limit: int = 65536
    """Outputs of more bytes than this go to a file."""
    memory_limit: int | None = None
    cursor: Any = None
    """For a look: where the sensor's last commit left off, as JSON values."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a user's code in a traceback."""

    file: str
    line: int
    function: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed, told for people. `kind`: raised, test, source, arguments, output, died, timeout, memory."""

    kind: str
    type: str
    message: str
    traceback: tuple[Frame, ...] = ()
    text: str = ""
    """The traceback as Python prints it, without our frames."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output that a call wrote. `preview` is JSON: see `headrace.worker.preview`."""

    index: int
    codec: Codec
    bytes: int
    inline: str | None = None
    path: str | None = None
    rows: int | None = None
    preview: Any = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended."""

    call: int
    outcome: Outcome
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    tests_passed: int = 0
    tests_failed: int = 0
    wait: float | None = None
    """For a sensor that waits: seconds until its next look."""
    max_rss: int = 0
    """The worker's peak resident memory so far, bytes."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record of Python's logging, sent while a call is under way."""

    call: int
    level: str
    logger: str
    message: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a worker asks while a call is under way; it waits for the Answer."""

    call: int
    number: int
    """Of this question within the worker's life."""
    name: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the question of the same number: `value`, or why there is none."""

    call: int
    number: int
    value: Any = None
    error: str | None = None
    remedy: str = ""
    code: str = ""


def encode(op: str, value: Any) -> bytes:
    """A message's bytes, its length first; `value` is one of the dataclasses above."""
    body = _ENCODER.encode({"op": op, **_as_json(value)}).encode()
    return len(body).to_bytes(4, "big") + body


def _as_json(value: Any) -> dict[str, Any]:
    """What JSON has no word for: our dataclasses (`asdict` would copy every value) and read-only mappings."""
    names = _FIELDS.get(type(value))
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot travel between the service and a worker")


_FIELDS = {
    kind: tuple(field.name for field in fields(kind))
    for kind in (OutputRef, Input, CodeRef, Call, Frame, Failure, Output, Result, LogRecord, Question, Answer)
}
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_as_json)


def call_from_json(value: Mapping[str, Any]) -> Call:
    """The Call in a decoded message."""
    values = {key: item for key, item in value.items() if key != "op"}
    values["mode"] = Mode(values["mode"])
    values["code"] = CodeRef(**values["code"])
    values["conditions"] = tuple(CodeRef(**item) for item in values["conditions"])
    values["inputs"] = tuple(
        Input(
            item["block"],
            tuple(OutputRef(Codec(o["codec"]), o["inline"], o["path"]) for o in item["outputs"]),
            item.get("sql"),
        )
        for item in values["inputs"]
    )
    return Call(**values)


def result_from_json(value: Mapping[str, Any]) -> Result:
    """The Result in a decoded message."""
    values = {key: item for key, item in value.items() if key != "op"}
    values["outcome"] = Outcome(values["outcome"])
    values["outputs"] = tuple(Output(**{**item, "codec": Codec(item["codec"])}) for item in values["outputs"])
    if failure := values["failure"]:
        frames = tuple(Frame(**frame) for frame in failure["traceback"])
        values["failure"] = Failure(**{**failure, "traceback": frames})
    return Result(**values)
