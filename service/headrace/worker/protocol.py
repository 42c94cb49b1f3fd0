"""What the service and a worker say to each other.

A message is a 4-byte big-endian length and that many bytes of JSON, over a Unix stream socket. Frames never travel in
messages: they lie in files that the next worker maps, and messages name them.

The service sends a `Call` as soon as it knows it, and `Start` once the start is recorded: only then may the block's
code run. A call that is not started is replaced by the next one. While it runs, the worker sends a `LogRecord` for each
record of Python's logging and a `Question` for each that is to get an `Answer`, and at its end, perhaps after a
`Retire`, one `Result`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder


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


class OutputRef(Struct, frozen=True, omit_defaults=True):
    """Where the bytes of one output are: in `inline`, or in the file `path`."""

    codec: Codec
    inline: bytes | None = None
    path: str | None = None


class Input(Struct, frozen=True, omit_defaults=True):
    """The stored outputs of one upstream block, in order."""

    block: str
    outputs: tuple[OutputRef, ...] = ()
    sql: str | None = None
    """The block's configuration, as JSON, if it is a SQL block: another SQL block reads the table that it made."""


class CodeRef(Struct, frozen=True):
    """A source to execute: `path` is absolute and is what tracebacks show."""

    uuid: str
    path: str
    text: str


class Call(Struct, frozen=True, omit_defaults=True, tag_field="op", tag="call"):
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
    configuration: str = "{}"
    """JSON in a string of its own: what strict JSON has no word for (NaN) passes, and only its user reads it."""
    variables: str = "{}"
    """JSON likewise: keyword arguments, with moments among them."""
    templates: tuple[str, ...] = ()
    """Names of variables that are templates: what a project's files say, never what came from elsewhere."""
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


class Frame(Struct, frozen=True):
    """One line of a user's code in a traceback."""

    file: str
    line: int
    function: str
    text: str


class Failure(Struct, frozen=True):
    """Why a call failed, told for people. `kind`: raised, test, source, arguments, output, died, timeout, memory."""

    kind: str
    type: str
    message: str
    traceback: tuple[Frame, ...] = ()
    text: str = ""
    """The traceback as Python prints it, without our frames."""


class Output(Struct, frozen=True, omit_defaults=True):
    """One output that a call wrote. `preview` is JSON: see `headrace.worker.preview`."""

    index: int
    codec: Codec
    bytes: int
    inline: builtins.bytes | None = None
    path: str | None = None
    rows: int | None = None
    preview: Raw = Raw(b"null")


class Result(Struct, frozen=True, omit_defaults=True, tag_field="op", tag="result"):
    """How a call ended."""

    call: int
    outcome: Outcome
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    tests_passed: int = 0
    tests_failed: int = 0
    wait: float | None = None
    """For a sensor that waits: seconds until its next look."""
    grown: int = 0
    """Bytes of memory of its own that the worker holds more than when it was forked; mapped files are not its own."""


class LogRecord(Struct, frozen=True, omit_defaults=True, tag_field="op", tag="log"):
    """A record of Python's logging, sent while a call is under way."""

    call: int
    level: str
    logger: str
    message: str


class Question(Struct, frozen=True, omit_defaults=True, tag_field="op", tag="ask"):
    """What a worker asks while a call is under way; it waits for the Answer."""

    call: int
    number: int
    """Of this question within the worker's life."""
    name: str
    content: dict[str, Any]


class Answer(Struct, frozen=True, omit_defaults=True, tag_field="op", tag="answer"):
    """The answer to the question of the same number: `value`, or why there is none."""

    call: int
    number: int
    value: Any = None
    error: str | None = None
    remedy: str = ""
    code: str = ""


class Start(Struct, frozen=True, tag_field="op", tag="start"):
    """Run the call that was sent last."""


class Ready(Struct, frozen=True, tag_field="op", tag="ready"):
    """The worker's first word: it came out of its fork and reads calls."""


class Retire(Struct, frozen=True, tag_field="op", tag="retire"):
    """The call left processes behind: this worker is to get no other one."""


def encode(message: Struct) -> bytes:
    """A message's bytes, its length first."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(4, "big") + body


ToWorker = Call | Start | Answer
FromWorker = Result | LogRecord | Question | Ready | Retire
_ENCODER = Encoder()
to_worker: Callable[[bytes], ToWorker] = Decoder(ToWorker).decode
"""The message to a worker that some bytes (without their length) are. Raises msgspec.MsgspecError."""
to_service: Callable[[bytes], FromWorker] = Decoder(FromWorker).decode
"""The message to the service that some bytes (without their length) are. Raises msgspec.MsgspecError."""
