"""Hears how attempts and runs end, for whoever counts and times them."""

from __future__ import annotations


class Observer:
    """Hears, and does nothing with it; a service hands in one that counts."""

    def attempt_ended(self, pipeline: str, outcome: str, seconds: float) -> None:
        """An attempt of a block ended after so long."""

    def run_ended(self, pipeline: str, status: str) -> None:
        """A run ended."""
