"""The commands that drive runs: run, retry, resume, cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any

import anyio

from headrace.domain.statuses import RUN_TERMINAL, RunStatus
from headrace.engine.creating import require_block
from headrace.engine.headrace import AlreadyEnded
from headrace.engine.views import RunView
from headrace.project.reading import read_pipeline, read_project
from headrace.service import Headrace, open_headrace
from headrace.terminal.displays import ChangeLines, Display, LiveTree, Silence
from headrace.terminal.errors import ExitCode
from headrace.terminal.interrupting import Interruptions
from headrace.terminal.pointers import pointers
from headrace.terminal.runs import RunTree, run_error
from headrace.terminal.screen import Screen

LINES_BELOW = 8
"""Lines of the terminal that a finished run's tree leaves to what is told below it; `show` prints the whole tree."""
DRIVEN_SECONDS = 1.0
"""How often a cancel looks whether a live service still holds the run."""
CANCELLING = "cancelling… (Ctrl-C again leaves at once)"


async def run_pipeline(
    screen: Screen, pipeline: str, variables: Mapping[str, Any], block: str | None, *, upstream: bool
) -> ExitCode:
    """Run a pipeline, or one block of it, and follow it to its end."""
    pinned = read_pipeline(read_project(screen.project.resolve()), pipeline)  # faults are told before anything starts
    if block is not None:
        require_block(pinned, block)
    return await _driven(
        screen,
        lambda headrace: headrace.create_run(pipeline, variables=variables, block=block, with_upstream=upstream),
    )


async def retry_run(screen: Screen, run: int, from_block: str | None, *, latest: bool) -> ExitCode:
    """Make a new run of what run `run` did not complete, and follow it to its end."""
    return await _driven(screen, lambda headrace: headrace.retry(run, from_block=from_block, latest=latest))


async def _driven(screen: Screen, create: Callable[[Headrace], Awaitable[int]]) -> ExitCode:
    following = Following(screen)
    with following.interruptions.heard():
        async with AsyncExitStack() as stack:
            headrace = await stack.enter_async_context(open_headrace(screen.project, drive=False))
            with following.interruptions.remembered():
                following.run = await create(headrace)
                await stack.enter_async_context(_engine_at_work(headrace))
            return await following.end_of(headrace, following.run)


async def resume_runs(screen: Screen) -> ExitCode:
    """Drive every run that has not ended; the worst of their exit codes. Ctrl-C leaves them as they are."""
    following = Following(screen)
    with following.interruptions.heard():
        async with open_headrace(screen.project, drive=False) as headrace:
            runs = await headrace.resume()
            if not runs and not screen.is_json:
                screen.out.say("Every run has ended.")
            if not runs:
                return ExitCode.COMPLETED
            async with _engine_at_work(headrace):
                return max([await following.end_of(headrace, run, is_ours=False) for run in runs])


def _engine_at_work(headrace: Headrace, *, spares: int = 2) -> AbstractAsyncContextManager[None]:
    """Drive runs here; the engine is loaded only now, when it is known that there is something to drive."""
    from headrace.driving import driving

    return driving(headrace, spares=spares)


class Following:
    """Follows runs to their ends, one after another; the first Ctrl-C cancels the one at hand, where it is ours."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.interruptions = Interruptions(self._leave)
        self.run: int | None = None
        """The run at hand, until it has ended."""
        self._display: Display | None = None

    async def end_of(self, headrace: Headrace, run: int, *, is_ours: bool = True) -> ExitCode:
        """Show a run until it has ended; then how it ended, and where to look."""
        self.run = run
        view = await (self._cancellable(headrace, run) if is_ours else self._shown(headrace, run))
        self.run = None
        await self._tell(headrace, view)
        if view.status == RunStatus.COMPLETED:
            return ExitCode.COMPLETED
        is_interrupted = self.interruptions.asked and view.status == RunStatus.CANCELLED
        return ExitCode.INTERRUPTED if is_interrupted else ExitCode.FAILED

    async def _cancellable(self, headrace: Headrace, run: int) -> RunView:
        async with anyio.create_task_group() as tasks:

            def cancel() -> None:
                if self._display is not None:
                    self._display.note(CANCELLING)
                tasks.start_soon(_cancelled, headrace, run)

            with self.interruptions.answered_by(cancel):
                view = await self._shown(headrace, run)
        self.interruptions.end()
        return view

    async def _shown(self, headrace: Headrace, run: int) -> RunView:
        with display_for(self.screen) as self._display:
            return await _watched(headrace, run, self._display)

    def _leave(self) -> None:
        """Say what becomes of the run; the process is about to end."""
        if self._display is not None:
            self._display.__exit__(None, None, None)
        if self.run is not None:
            again, end = self.screen.command("resume"), self.screen.command("cancel", str(self.run))
            self.screen.err.say(f"Left run {self.run} as it is: `{again}` goes on with it, `{end}` ends it.")

    async def _tell(self, headrace: Headrace, view: RunView) -> None:
        screen = self.screen
        if screen.is_json:
            screen.out.write_json(view)
            return
        if screen.out.is_interactive:
            screen.out.print(RunTree(view, most=screen.out.height - LINES_BELOW))
        if (error := run_error(view, is_plain=not screen.out.is_terminal)) is not None:
            screen.err.print(error, soft_wrap=True)
        screen.tell_next("Where to look", await pointers(headrace, screen.spelling, view))


async def _cancelled(headrace: Headrace, run: int) -> None:
    with suppress(AlreadyEnded):
        await headrace.cancel(run)


def display_for(screen: Screen) -> Display:
    """A live tree where somebody sees it: beside JSON on standard error; else lines, or silence beside JSON."""
    console = screen.err if screen.is_json else screen.out
    if console.is_interactive:
        screen.warnings.console = console  # it draws them above the tree
        return LiveTree(console)
    return Silence(screen.err) if screen.is_json else ChangeLines(screen.out, screen.err)


async def cancel_run(screen: Screen, run: int) -> ExitCode:
    """Cancel a run and wait until it has ended: by the service that drives it, or here where none does (any more)."""
    async with open_headrace(screen.project, drive=False) as headrace:
        is_over = (await headrace.show(run)).status in RUN_TERMINAL
        await headrace.cancel(run)
        with display_for(screen) as display:
            if not is_over:
                display.note(f"waiting for the blocks of run {run} to end…")
            view = await _ended_elsewhere(headrace, run, display) or await _ended_here(headrace, run, display)
    if screen.is_json:
        screen.out.write_json(view)
    elif screen.out.is_interactive:
        screen.out.print(RunTree(view))
    return ExitCode.COMPLETED if view.status == RunStatus.CANCELLED else ExitCode.FAILED


async def _ended_elsewhere(headrace: Headrace, run: int, display: Display) -> RunView | None:
    """How a run ended; None when no live service holds it, or holds it no longer."""
    while True:
        with anyio.move_on_after(DRIVEN_SECONDS):
            return await _watched(headrace, run, display)
        if not await headrace.is_driven(run):
            return None


async def _ended_here(headrace: Headrace, run: int, display: Display) -> RunView:
    async with _engine_at_work(headrace, spares=0):
        return await _watched(headrace, run, display)


async def _watched(headrace: Headrace, run: int, display: Display) -> RunView:
    async for view in headrace.changes(run):
        display.show(view)
    return view
