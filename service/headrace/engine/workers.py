"""The pool of worker processes: spares forked ahead of need, workers bound to a pipeline's version, their recycling.

`limit` workers may be bound (busy or idle) at once; up to `spares` more wait unbound. One that nobody has needed for
`idle_for` seconds is let go. Nothing here polls: every change is caused by a release, a fork, an exit or a timer.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from headrace.engine.worker_connection import Answers, NoAnswer, Worker, WorkerKey, answer_nothing
from headrace.engine.worker_environment import worker_environ
from headrace.engine.worker_logs import LogCaps, LogLine
from headrace.engine.worker_template import (
    ANSWER_SECONDS,
    Forked,
    Spawn,
    TemplateProcess,
    WorkersUnavailable,
    spawn,
)

__all__ = [
    "Answers",
    "LogCaps",
    "LogLine",
    "NoAnswer",
    "Worker",
    "WorkerKey",
    "WorkerPool",
    "WorkersUnavailable",
    "worker_environ",
]

log = logging.getLogger(__name__)

MIB = 1024 * 1024
DEFAULT_CAPS = LogCaps()
_PATIENCE = 0.015
"""Seconds that waiters hope for a release before one more worker is forked: about what a fork costs."""
_SHORT = 0.0075
"""Workers that come free after so few seconds keep the cores busy by themselves: to fork more would slow them down."""
_LONGEST_WAIT = 0.3
"""Seconds after which a waiter gets a worker forked however fast the others come free."""
_IDLE_APART = 4
_RESTART_DELAYS = (0.0, 0.1, 0.5, 2.0, 5.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """One that waits for a worker, since a time of the event loop's."""

    key: WorkerKey
    worker: asyncio.Future[Worker]
    since: float


class WorkerPool:
    """Gives out workers; use as an async context manager. All methods belong to one event loop."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        spares: int = 2,
        limit: int = 20,
        recycle_after: int = 1000,
        recycle_growth: int = 512 * MIB,
        idle_for: float = 60.0,
        preload: Sequence[str] = ("headrace.mage",),
        caps: LogCaps = DEFAULT_CAPS,
        spawn: Spawn = spawn,
        start_within: float = 60.0,
        answer_within: float = ANSWER_SECONDS,
    ) -> None:
        self.on_free: Callable[[], None] | None = None
        """Called when a worker may have become available."""
        self.answers: Answers = answer_nothing
        """Answers what the code in the workers asks, for calls that bring no answers of their own."""
        self._environ = environ
        self._spare_count = spares
        self._limit = limit
        self._recycle_after = recycle_after
        self._recycle_growth = recycle_growth
        self._idle_for = idle_for
        self._preload = preload
        self._caps = caps
        self._spawn = spawn
        self._start_within = start_within
        self._answer_within = answer_within
        self._cores = os.cpu_count() or 1
        self._template: TemplateProcess | None = None
        self._workers: dict[int, Worker] = {}
        self._spares: deque[Worker] = deque()
        self._idle: OrderedDict[int, Worker] = OrderedDict()
        """Bound and idle workers by pid, least recently used first."""
        self._busy: set[Worker] = set()
        self._waiters: deque[_Waiter] = deque()
        self._growing: asyncio.TimerHandle | None = None
        self._letting_go: asyncio.TimerHandle | None = None
        self._released_at = -_PATIENCE
        self._usual_hold = _PATIENCE
        """Seconds for which workers were held lately, on average."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._forking = 0
        self._restarts = 0
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Start the template and the spares. Raises WorkersUnavailable."""
        await self._start_template()
        self._is_open = True
        for _ in range(self._spare_count):
            self._forking += 1
            await self._fork()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker and whatever workers started; returns when nothing is left."""
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for timer in (self._growing, self._letting_go):
            if timer is not None:
                timer.cancel()
        for waiter in self._waiters:
            waiter.worker.cancel()
        if self._template is not None:
            await self._template.stop()
        for worker in tuple(self._workers.values()):
            worker.abandon()

    @property
    def free(self) -> int:
        """How many more workers may be busy at once now, those already promised to waiters counted off."""
        return max(self._limit - len(self._busy) - len(self._waiters), 0)

    @property
    def template_pid(self) -> int:
        """The pid of the template process, 0 while there is none."""
        return self._template.pid if self._template else 0

    @property
    def pids(self) -> frozenset[int]:
        """The pids of all workers that are alive."""
        return frozenset(self._workers)

    def try_acquire(self, key: WorkerKey) -> Worker | None:
        """An idle worker bound to `key`, else a spare that is bound to it now, else None. Never waits."""
        if self._waiters or len(self._busy) >= self._limit:
            return None
        worker = self._take_idle(key) or self._take_spare(key)
        if worker is None:
            self._refill()
        return worker

    async def acquire(self, key: WorkerKey) -> Worker:
        """A worker bound to `key`, first come first served. Cancel to stop waiting."""
        worker = self.try_acquire(key)
        if worker is not None:
            return worker
        loop = asyncio.get_running_loop()
        waiter = _Waiter(key, loop.create_future(), loop.time())
        self._waiters.append(waiter)
        self._grow_soon()
        try:
            return await waiter.worker
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    async def acquire_apart(self, key: WorkerKey) -> Worker:
        """A worker bound to `key`, whose `apart` is true: an idle one, or one that is forked now; waits for no other.

        Raises WorkersUnavailable.
        """
        worker = self._pop_idle(key)
        if worker is not None:
            return worker
        template = self._template
        if template is None:
            raise WorkersUnavailable("the pool of workers is not open.", remedy="Open it first.")
        worker = self._made(await template.fork(), template)
        worker.key = key
        self._workers[worker.pid] = worker
        return worker

    def _forget(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.worker.done() and not waiter.worker.cancelled():
            self.release(waiter.worker.result())

    def release(self, worker: Worker) -> None:
        """Give a worker back: it becomes idle, or ends when it is used up or its key says so."""
        if worker in self._busy:
            self._busy.discard(worker)
            self._released_at = asyncio.get_running_loop().time()
            self._usual_hold += (self._released_at - worker.taken_at - self._usual_hold) / 8
        if self._is_used_up(worker):
            self._retire(worker)
        elif not worker.gone.done():
            self._rest(worker)
        self._offer()

    def _rest(self, worker: Worker) -> None:
        worker.idle_since = asyncio.get_running_loop().time()
        self._idle[worker.pid] = worker
        self._make_room()
        self._let_go_later()

    def _let_go_later(self) -> None:
        """Look again when the one that rests for the longest time has rested long enough."""
        if self._letting_go is None and self._idle and self._is_open:
            longest = next(iter(self._idle.values()))
            due = longest.idle_since + self._idle_for
            self._letting_go = asyncio.get_running_loop().call_at(due, self._let_go)

    def _let_go(self) -> None:
        """End the workers that nobody has needed for long: what they imported and cached costs memory."""
        self._letting_go = None
        latest = asyncio.get_running_loop().time() - self._idle_for
        for worker in [worker for worker in self._idle.values() if worker.idle_since <= latest]:
            self._retire(worker)
        self._let_go_later()

    def retire_key(self, token: str) -> None:
        """End the workers that one run or attempt had for itself; busy ones end when they are released."""
        for worker in tuple(self._workers.values()):
            if worker.key is not None and worker.key.isolation == token:
                worker.is_retiring = True
                if worker not in self._busy:
                    self._retire(worker)

    def _is_used_up(self, worker: Worker) -> bool:
        return (
            worker.is_retiring
            or worker.key is None
            or worker.key.once
            or worker.calls >= self._recycle_after
            or worker.grown > self._recycle_growth
        )

    def _take_idle(self, key: WorkerKey) -> Worker | None:
        worker = self._pop_idle(key)
        if worker is not None:
            self._take(worker)
        return worker

    def _take(self, worker: Worker) -> None:
        worker.taken_at = asyncio.get_running_loop().time()
        self._busy.add(worker)

    def _pop_idle(self, key: WorkerKey) -> Worker | None:
        for worker in reversed(self._idle.values()):
            if worker.key == key and worker.is_usable:
                del self._idle[worker.pid]
                return worker
        return None

    def _take_spare(self, key: WorkerKey) -> Worker | None:
        while self._spares:
            worker = self._spares.popleft()
            if not worker.is_usable:
                continue
            worker.key = key
            self._take(worker)
            self._make_room()
            self._refill()
            return worker
        return None

    def _make_room(self) -> None:
        """Keep bound workers within the limit, and few idle ones apart from it: the least recently used ones go."""
        apart = [worker for worker in self._idle.values() if worker.key is not None and worker.key.apart]
        for worker in apart[:-_IDLE_APART]:
            self._retire(worker)
        others = [worker for worker in self._idle.values() if worker not in apart]
        for worker in others[: max(len(self._busy) + len(others) - self._limit, 0)]:
            self._retire(worker)

    def _retire(self, worker: Worker) -> None:
        worker.is_retiring = True
        self._idle.pop(worker.pid, None)
        if worker in self._spares:
            self._spares.remove(worker)
        if self._is_open and not worker.gone.done():
            self._keep(worker.stop(1.0))

    def _offer(self) -> None:
        """Serve waiters in their order, as far as workers go; then tell the engine."""
        while self._waiters and len(self._busy) < self._limit:
            served = self._serve_one()
            if not served:
                self._grow()
                break
        if self.on_free is not None and not self._waiters:
            self.on_free()

    def _serve_one(self) -> bool:
        """Serve the first waiter; a later one may pass it with an idle worker of its own while a slot is left over."""
        self._waiters = deque(waiter for waiter in self._waiters if not waiter.worker.done())
        for place, waiter in enumerate(self._waiters):
            if place > 0 and len(self._busy) >= self._limit - 1:
                return False
            worker = self._take_idle(waiter.key)
            if worker is None and place == 0 and (self._needs_more() or not self._is_bound(waiter.key)):
                worker = self._take_spare(waiter.key)
            if worker is not None:
                self._waiters.remove(waiter)
                waiter.worker.set_result(worker)
                return True
        return False

    def _is_bound(self, key: WorkerKey) -> bool:
        return any(worker.key == key for worker in self._busy)

    def _grow_soon(self) -> None:
        if self._growing is None and self._is_open:
            self._growing = asyncio.get_running_loop().call_later(_PATIENCE, self._look_at_waiters)

    def _look_at_waiters(self) -> None:
        self._growing = None
        self._offer()
        if self._waiters:
            self._grow_soon()

    def _grow(self) -> None:
        """Fork one more for the waiters, unless as many forks as they need, or as there are cores, are under way."""
        wanted = min(len(self._waiters), self._limit - len(self._busy))
        if self._forking < min(wanted, self._cores) and self._needs_more():
            self._begin_fork()

    def _needs_more(self) -> bool:
        """Whether the waiters would wait for long for the workers that there are."""
        now = asyncio.get_running_loop().time()
        come_free = now - self._released_at < _PATIENCE and self._usual_hold < _SHORT
        return not come_free or now - self._waiters[0].since > _LONGEST_WAIT

    def _refill(self) -> None:
        """Bring the spares back to their number."""
        if self._forking < self._cores and len(self._spares) + self._forking < self._spare_count:
            self._begin_fork()

    def _begin_fork(self) -> None:
        if self._template is not None and self._template.is_alive:
            self._forking += 1
            self._keep(self._fork_one())

    async def _fork_one(self) -> None:
        try:
            await self._fork()
        except WorkersUnavailable:
            return  # the template's end is noticed on its own and starts it again; waiters go on waiting
        self._refill()

    async def _fork(self) -> None:
        """Carry out one fork that `_forking` already counts."""
        template = self._template
        try:
            if template is None:
                return
            forked = await template.fork()
        finally:
            self._forking -= 1
        worker = self._made(forked, template)
        self._workers[worker.pid] = worker
        self._spares.append(worker)
        self._offer()

    def _made(self, forked: Forked, template: TemplateProcess) -> Worker:
        return Worker(forked, template.kill, self._ended, self._caps, self._answer, self._answer_within)

    async def _answer(self, question: str, content: Mapping[str, Any]) -> Any:
        return await self.answers(question, content)

    def _exited(self, pid: int, status: int) -> None:
        worker = self._workers.get(pid)
        if worker is not None:
            worker.ended(status)

    def _ended(self, worker: Worker) -> None:
        """A worker is gone, wanted or not."""
        self._workers.pop(worker.pid, None)
        self._idle.pop(worker.pid, None)
        if worker in self._spares:
            self._spares.remove(worker)
        if self._is_open:
            self._refill()
            self._offer()

    async def _start_template(self) -> None:
        self._template = TemplateProcess(self._exited, self._template_ended, self._answer_within)
        await self._template.start(self._spawn, self._environ, self._preload, self._start_within)

    def _template_ended(self) -> None:
        if self._is_open:
            self._keep(self._restart())

    async def _restart(self) -> None:
        """Start the template again; a template that will not come up is tried ever more slowly, for as long as open."""
        old = self._template
        if old is not None:
            await old.stop()
        while self._is_open:
            await asyncio.sleep(_RESTART_DELAYS[min(self._restarts, len(_RESTART_DELAYS) - 1)])
            self._restarts += 1
            try:
                await self._start_template()
            except WorkersUnavailable as error:
                log.error("no block can run: %s", error)
                continue
            self._restarts = 0
            self._refill()
            self._grow()
            return

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
