"""What a block's code may ask the service that it works for. The worker sets who answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from headrace.domain.errors import HeadraceError

Asker = Callable[[str, Mapping[str, Any]], Any]
"""Asks a question of that name with JSON values and waits for the answer, however long it takes."""

_asker: list[Asker] = []


class CannotAsk(HeadraceError):
    """There is no service to ask: the code runs outside of a worker, or in a process that a block forked."""

    code = "cannot-ask"


class AnswerRefused(HeadraceError):
    """The service could not answer a question; `reason` is the code of its error."""

    code = "answer-refused"

    def __init__(self, message: str, *, remedy: str = "", reason: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


def set_asker(asker: Asker | None) -> None:
    """Tell who answers while the next call runs; None for nobody."""
    _asker[:] = [] if asker is None else [asker]


def ask(question: str, **content: Any) -> Any:
    """The service's answer; blocks until it comes. Raises CannotAsk and AnswerRefused."""
    if not _asker:
        raise CannotAsk(
            f"Nobody is there to ask for {question!r}: this code does not run in a worker.",
            remedy="Run it as a block or as a sensor.",
        )
    return _asker[0](question, content)


async def ask_meanwhile(question: str, **content: Any) -> Any:
    """As `ask`, while the event loop goes on."""
    return await asyncio.to_thread(lambda: ask(question, **content))
