"""Ctrl-C, and SIGTERM, while a command drives runs: the first asks it to end in order, the second leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from headrace.terminal.errors import ExitCode

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptions:
    """Hears the signals for as long as the command lasts; `asked` tells whether one came.

    What the first one does changes as the command goes on: in the beginning it cancels the task that hears. `leave` is
    called before a second one ends the process.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self.asked = False
        self._is_over = False
        self._leave = leave
        self._answer: Callable[[], object] = lambda: None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear the signals in the running loop."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        self._answer = task.cancel if task is not None else self._answer
        for number in SIGNALS:
            loop.add_signal_handler(number, self._hear)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _hear(self) -> None:
        if self.asked or self._is_over:
            self._leave()
            os._exit(ExitCode.INTERRUPTED)  # workers and server end by themselves
        self.asked = True
        self._answer()

    def end(self) -> None:
        """From now on the first signal leaves at once too: what could be ended in order is over."""
        self._is_over = True

    def remembered(self) -> AbstractContextManager[None]:
        """For work that must not end halfway: a signal meanwhile is only noted, in `asked`."""
        return self.answered_by(lambda: None)

    @contextmanager
    def answered_by(self, answer: Callable[[], object]) -> Iterator[None]:
        """Let the first signal call `answer`, at once where it came before."""
        before, self._answer = self._answer, answer
        if self.asked:
            answer()
        try:
            yield
        finally:
            self._answer = before
