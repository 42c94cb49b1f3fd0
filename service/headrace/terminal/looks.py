"""Glyphs, colours and numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

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


def status_text(status: str) -> str:
    """A status with its glyph, as rich markup."""
    glyph, style = GLYPHS[status]
    return f"[{style}]{glyph} {status}[/]"


def duration(start: datetime | None, end: datetime | None) -> str:
    """The time between two moments (to now where there is no end), in a unit that fits."""
    if start is None:
        return ""
    seconds = ((end or datetime.now(UTC)) - start).total_seconds()
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(at: datetime | None) -> str:
    """A time in the reader's own zone, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
