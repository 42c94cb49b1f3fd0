"""The one base of all errors that Headrace raises on purpose."""

from __future__ import annotations


class HeadraceError(Exception):
    """Something failed for a reason that can be told.

    `code` is stable and kebab-case: programs match on it. The message is for people: it says what happened, to which
    id, and (in `remedy`) what to do next.
    """

    code = "headrace-error"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class IllegalTransition(HeadraceError):
    """A run or block run was asked to move in a way that its state machine does not allow."""

    code = "illegal-transition"


class InvalidPipeline(HeadraceError):
    """A pipeline's graph cannot be run: a cycle, an unknown upstream, a duplicate uuid."""

    code = "invalid-pipeline"
