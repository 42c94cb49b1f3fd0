"""What a block raised, told for people: the kind of failure and the traceback without our own frames."""

from __future__ import annotations

from headrace.blocks import calling
from headrace.domain.errors import HeadraceError
from headrace.worker.preview import safe_text
from headrace.worker.protocol import Call, Failure, Frame, Outcome, Result

_TEXT = 100_000
_FRAMES = 200
LINE_CHARACTERS = 500
MOST_REASON = 1000
KINDS = {
    "unstorable-output": "output",
    "unwritable-output": "output",
    "unreadable-output": "output",
    "no-decorated-function": "source",
    "block-arguments": "arguments",
    "test-failed": "test",
}
"""Codes of our own errors to the kinds of failure that they are."""


def failed(call: Call, error: BaseException) -> Result:
    """The Result of a call that raised; with the counts of its tests, where some of them failed."""
    report = error.report if isinstance(error, calling.BlockTestsFailed) else calling.TestsReport(0)
    failure = failure_of(error, call)
    return Result(call.id, Outcome.FAILED, failure=failure, tests_passed=report.passed, tests_failed=report.failed)


def condition_false(told: str) -> Failure:
    """Why a block was left out."""
    return Failure("condition", "", safe_text(told)[:MOST_REASON])


def failure_of(error: BaseException, call: Call) -> Failure:
    """Describe `error`, which a call raised."""
    kind = _kind(error, call)
    name = safe_text(type(error).__qualname__)
    frames = _frames(error)[-_FRAMES:]
    if place := _place_in_sql(error, call):
        return Failure(kind, name, _message(error, kind, call), (*frames, place), _told(place) + _formatted(error))
    return Failure(kind, name, _message(error, kind, call), frames, _formatted(error))


def _kind(error: BaseException, call: Call) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, SyntaxError) and error.filename == call.code.path:
        return "source"
    return KINDS.get(error.code, "raised") if isinstance(error, HeadraceError) else "raised"


def _message(error: BaseException, kind: str, call: Call) -> str:
    text = _safe(error)
    if kind == "memory" and call.memory_limit is not None:
        return f"the block needed more memory than its limit of {call.memory_limit} bytes. {text}".rstrip()
    if isinstance(error, SystemExit):
        return f"the block called sys.exit({text})."
    return text[:_TEXT]


def _safe(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # a boundary: str() of a user's exception runs the user's code
        text = "(its message could not be made)"
    return safe_text(text)


def _frames(error: BaseException) -> tuple[Frame, ...]:
    return tuple(
        Frame(safe_text(file), line, safe_text(function), safe_text(text)[:LINE_CHARACTERS])
        for file, line, function, text in calling.user_frames(error)
    )


def _place_in_sql(error: BaseException, call: Call) -> Frame | None:
    """The line of a SQL block's file that the error speaks of: no frame of Python shows it."""
    line = getattr(error, "line", None)
    is_of_block = isinstance(error, HeadraceError) and not hasattr(error, "file")
    if call.language != "sql" or not is_of_block or not isinstance(line, int):
        return None
    lines = call.code.text.splitlines()
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    return Frame(safe_text(call.code.path), line, "", safe_text(text.strip()))


def _told(place: Frame) -> str:
    return f'Traceback (most recent call last):\n  File "{place.file}", line {place.line}\n    {place.text}\n'


def _formatted(error: BaseException) -> str:
    try:
        text = calling.format_without_ours(error)
    except Exception:  # a boundary: formatting runs str() and repr() of the user's exceptions
        text = type(error).__qualname__
    return safe_text(text)[:_TEXT]
