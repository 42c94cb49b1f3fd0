"""Hears how fast events are taken in, for whoever counts and times them."""

from __future__ import annotations


class IntakeObserver:
    """Hears, and does nothing with it; a service hands in one that counts."""

    def event_accepted(self, source: str, seconds: float) -> None:
        """An event of a source was committed, so long after the service had it."""

    def slot_accepted(self, seconds: float) -> None:
        """A slot was committed that nobody had committed before, so long after its run was to start."""
