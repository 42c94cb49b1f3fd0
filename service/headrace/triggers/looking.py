"""Looks for one sensor: calls it in a worker when it is due, within its deadline, backing off while it fails."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from headrace.domain.errors import HeadraceError
from headrace.store.sensors import LookNote
from headrace.triggers.delivering import Deliverer, SensorLost, SteadyClock
from headrace.triggers.sensor_definitions import SensorDefinition
from headrace.worker.protocol import Call, Failure, Mode, Outcome, Result

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
DEADLINE_SECONDS = 60.0
GRACE_SECONDS = 2.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
LINES_KEPT = 50
_NUMBERS = count(1)

Questions = Callable[[int, str, Mapping[str, Any]], Awaitable[Any]]
"""Answers what a sensor of a project (its id) asks beside its own deliveries."""


class LogText(Protocol):
    """One line that a sensor printed or logged."""

    @property
    def text(self) -> str: ...


class LookWorker(Protocol):
    """A worker process that runs one call at a time."""

    async def call(
        self,
        call: Call,
        *,
        on_log: Callable[[LogText], None],
        grace: float = ...,
        answers: Callable[[str, Mapping[str, Any]], Awaitable[Any]] = ...,
    ) -> Result:
        """Run one call to its end; a cancel ends the process."""
        ...


class LookWorkers(Protocol):
    """Where workers for looks come from, without waiting for blocks."""

    def lend(self, project: Path) -> AbstractAsyncContextManager[LookWorker]:
        """A worker bound to a project, for one look."""
        ...


@dataclass
class Lookout:
    """One sensor that this service holds. `note` is called after each look with what it came to."""

    definition: SensorDefinition
    deliverer: Deliverer
    workers: LookWorkers
    clock: SteadyClock
    random: random.Random
    questions: Questions
    note: Callable[[LookNote], None]
    failures: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    stamp: tuple[int, int] | None = None
    _interval: float | None = None
    _deadline: float | None = None
    _is_stream: bool = False
    _is_looking: bool = False
    _alive_at: float = 0.0
    _answering: int = 0
    _is_overdue: bool = False
    _is_lost: bool = False
    _lines: list[str] = field(default_factory=list)

    async def run(self, due_in: float) -> None:
        """Look until the scope is cancelled or the sensor is lost; the first time in `due_in` seconds."""
        due = self.clock.monotonic() + due_in
        with self.scope:
            while not self._is_lost:
                await self.clock.sleep(max(due - self.clock.monotonic(), 0.0))
                began = self.clock.monotonic()
                failure = await self._seen_through()
                late, due = began - due, self._next(due, began, failed=failure is not None)
                self._tell(failure, began, late, due)

    @property
    def is_streaming(self) -> bool:
        """Whether a generator is under way, whose source is the one that it began with."""
        return self._is_stream and self._is_looking

    @property
    def interval(self) -> float:
        """Seconds between the beginnings of two looks: the triggers', else the decorator's, else 60."""
        return self.definition.seconds("interval") or self._interval or INTERVAL_SECONDS

    @property
    def deadline(self) -> float:
        """Seconds that a look, or a generator's silence, may last: the triggers', else the decorator's, else 60."""
        return self.definition.seconds("deadline") or self._deadline or DEADLINE_SECONDS

    def _next(self, due: float, began: float, *, failed: bool) -> float:
        if failed:
            self.failures += 1
            return self.clock.monotonic() + self._pause()
        self.failures = 0
        return max(due + self.interval, began + self.interval / 2, self.clock.monotonic())

    def _pause(self) -> float:
        doubled = FIRST_PAUSE * 2.0 ** min(self.failures - 1, 20)
        backoff = min(doubled, LONGEST_PAUSE) * self.random.uniform(0.75, 1.0)
        return backoff if self._is_stream else max(backoff, self.interval)

    def _tell(self, failure: Failure | None, began: float, late: float, due: float) -> None:
        now = self.clock.monotonic()
        error = None if failure is None else self._error(failure)
        held = self.deliverer.held
        self.note(LookNote(held.id, held.fence, now - began, due - now, max(late, 0.0), self.failures, error))
        if failure is not None:
            log.warning("sensor %s failed (%s time): %s", self.definition.name, self.failures, failure.message)

    def _error(self, failure: Failure) -> Mapping[str, Any]:
        return {
            "kind": failure.kind,
            "type": failure.type,
            "message": failure.message,
            "text": failure.text,
            "printed": self._lines[-LINES_KEPT:],
        }

    async def _seen_through(self) -> Failure | None:
        """One look; how it failed, if it did. A boundary: a fault of one sensor, or of ours in it, stops no other."""
        try:
            result = await self._look()
        except HeadraceError as error:
            return Failure("source", type(error).__name__, str(error), text=str(error))
        except Exception as error:
            log.exception("looking for sensor %s went wrong", self.definition.name)
            return Failure("internal", type(error).__name__, str(error), text=repr(error))
        if result is None:
            return self._overdue()
        return result.failure if result.outcome is Outcome.FAILED else None

    def _overdue(self) -> Failure | None:
        if not self._is_overdue:
            return None
        what = "said nothing for" if self._is_stream else "looked longer than"
        message = f"sensor {self.definition.name} {what} its deadline of {self.deadline:g} s and was ended."
        return Failure("timeout", "TimeoutError", message, text=message)

    async def _look(self) -> Result | None:
        """The look's result; None where it was ended from here."""
        self._lines.clear()
        self._is_overdue = self._is_stream = False
        self.stamp = self.definition.stamp()
        call = await asyncio.to_thread(self._call)
        async with self.workers.lend(self.definition.project.root) as worker:
            self._is_looking = True
            try:
                return await self._called(worker, call)
            finally:
                self._is_looking = False

    async def _called(self, worker: LookWorker, call: Call) -> Result | None:
        result: Result | None = None
        self._alive_at = self.clock.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_overdue, tasks.cancel_scope)
            result = await worker.call(call, on_log=self._heard, grace=GRACE_SECONDS, answers=self._answers(tasks))
            tasks.cancel_scope.cancel()
        return result

    def _call(self) -> Call:
        definition = self.definition
        configuration = json.dumps(definition.configuration)
        return Call(
            id=next(_NUMBERS),
            mode=Mode.LOOK,
            project=str(definition.project.root),
            pipeline="",
            block=definition.name,
            block_type="sensor",
            language="python",
            code=definition.code(),
            configuration=configuration,
            variables=configuration,
            templates=tuple(definition.configuration),
            cursor=self.deliverer.cursor,
        )

    def _heard(self, line: LogText) -> None:
        log.info("sensor %s: %s", self.definition.name, line.text)
        self._lines.append(line.text)
        del self._lines[: -2 * LINES_KEPT]

    async def _end_overdue(self, scope: anyio.CancelScope) -> None:
        while True:
            left = self._alive_at + self.deadline - self.clock.monotonic()
            if left <= 0 and not self._answering:
                self._is_overdue = True
                scope.cancel()
                return
            await self.clock.sleep(max(left, 0.05) if not self._answering else min(self.deadline, 1.0))

    def _answers(self, tasks: TaskGroup) -> Callable[[str, Mapping[str, Any]], Awaitable[Any]]:
        async def answer(question: str, content: Mapping[str, Any]) -> Any:
            self._answering += 1
            try:
                return await self._answer(question, content)
            except SensorLost:
                self._is_lost = True
                tasks.cancel_scope.cancel()
                await anyio.sleep_forever()
            finally:
                self._answering -= 1
                if self._is_stream:
                    self._alive_at = self.clock.monotonic()

        return answer

    async def _answer(self, question: str, content: Mapping[str, Any]) -> Any:
        match question:
            case "begin":
                self._interval, self._deadline = content["interval"], content["deadline"]
                self._is_stream = content["stream"]
                return None
            case "beat":
                return None
            case "deliver":
                await self.deliverer.deliver(content)
                self.failures = 0
                return None
            case _:
                return await self.questions(self.definition.project.id, question, content)
