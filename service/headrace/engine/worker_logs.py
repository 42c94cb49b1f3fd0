"""Lines of a call's log: what a block prints and logs, cut into numbered lines and capped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

LINE_BYTES = 64 * 1024
CALL_BYTES = 10 * 1024 * 1024
CALL_LINES = 100_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a call's log. `seq` counts from 1 within the call, without gaps."""

    seq: int
    stream: str
    """`stdout`, `stderr` or `log` (Python's logging)."""
    level: str
    text: str
    at: datetime
    """When the service read it, UTC."""


@dataclass(frozen=True, slots=True)
class LogCaps:
    """How much of one call's log is kept; the rest is counted and dropped."""

    bytes: int = CALL_BYTES
    lines: int = CALL_LINES


class LineCapture:
    """Numbers the lines of one call and passes each to `on_log`, up to the caps."""

    def __init__(self, on_log: Callable[[LogLine], None], caps: LogCaps) -> None:
        self._on_log = on_log
        self._caps = caps
        self._partial = {"stdout": b"", "stderr": b""}
        self._seq = 0
        self._bytes = 0
        self._dropped_lines = 0
        self._dropped_bytes = 0

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes as they came out of a pipe."""
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        now = datetime.now(UTC)
        for line in lines:
            self._take(stream, line, now)
        while len(rest) > LINE_BYTES:
            cut = _character_boundary(rest, LINE_BYTES)
            self._take(stream, rest[:cut], now)
            rest = rest[cut:]
        self._partial[stream] = rest

    def record(self, level: str, text: str) -> None:
        """Take one record of Python's logging, which may be of several lines."""
        self._emit("log", level, text.encode("utf-8", "replace"), datetime.now(UTC))

    def finish(self) -> None:
        """Give out lines without an end, and one last line that tells how much was dropped."""
        for stream, rest in self._partial.items():
            if rest:
                self._take(stream, rest, datetime.now(UTC))
        self._partial = {"stdout": b"", "stderr": b""}
        if self._dropped_lines:
            text = (
                f"{self._dropped_lines} more lines ({self._dropped_bytes} bytes) were dropped: "
                f"a call's log keeps {self._caps.lines} lines and {self._caps.bytes} bytes."
            )
            self._give("log", "WARNING", text, datetime.now(UTC))

    def _take(self, stream: str, line: bytes, now: datetime) -> None:
        while len(line) > LINE_BYTES:
            cut = _character_boundary(line, LINE_BYTES)
            self._emit(stream, "INFO", line[:cut], now)
            line = line[cut:]
        self._emit(stream, "INFO", line.removesuffix(b"\r"), now)

    def _emit(self, stream: str, level: str, line: bytes, now: datetime) -> None:
        if self._is_full(len(line)):
            self._dropped_lines += 1
            self._dropped_bytes += len(line)
            return
        self._bytes += len(line)
        self._give(stream, level, line.decode("utf-8", "replace").replace("\x00", "\ufffd"), now)

    def _is_full(self, more: int) -> bool:
        """Whether the cap is reached; once a line was dropped all later ones are, so what is kept is a prefix."""
        return self._dropped_lines > 0 or self._seq >= self._caps.lines or self._bytes + more > self._caps.bytes

    def _give(self, stream: str, level: str, text: str, now: datetime) -> None:
        self._seq += 1
        self._on_log(LogLine(self._seq, stream, level, text, now))


def _character_boundary(data: bytes, at: int) -> int:
    """The place at or up to 3 bytes before `at` where no UTF-8 character is cut in two."""
    for cut in range(at, at - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return at
