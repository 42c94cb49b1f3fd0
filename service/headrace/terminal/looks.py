"""Glyphs, colours and numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.text import Text

GLYPHS = {
    "initial": ("·", "dim"),
    "queued": ("◌", "yellow"),
    "running": ("●", "cyan"),
    "completed": ("✔", "green"),
    "failed": ("✘", "bold red"),
    "cancelled": ("⊘", "magenta"),
    "upstream_failed": ("↯", "red"),
    "condition_failed": ("○", "dim"),
}
"""Status to glyph and style."""
UNKNOWN = ("?", "magenta")
"""Of a status that a newer version gave."""


def glyph(status: str) -> Text:
    """A status as one character."""
    return Text(*GLYPHS.get(status, UNKNOWN))


def status_text(status: str) -> Text:
    """A status with its glyph."""
    sign, style = GLYPHS.get(status, UNKNOWN)
    return Text(f"{sign} {words(status)}", style)


def words(status: str) -> str:
    """A status as it is said."""
    return status.replace("_", " ")


def duration(start: datetime | None, end: datetime | None) -> str:
    """The time between two moments (to now where there is no end), in a unit that fits."""
    if start is None:
        return ""
    seconds = ((end or datetime.now(UTC)) - start).total_seconds()
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(at: datetime | None) -> str:
    """A time in the reader's own zone, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(count: int) -> str:
    """A number of bytes in a unit that fits."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 999.5:
            return counted(count, "byte") if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
