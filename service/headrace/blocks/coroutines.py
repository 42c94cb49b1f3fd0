"""The event loop on which `async def` blocks run: one a process, kept warm, with nothing left over between blocks."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Coroutine
from typing import Any

_runners: dict[int, asyncio.Runner] = {}


def result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on this process's loop; tasks that it leaves behind are cancelled."""
    return _runner().run(_alone(coroutine))


def _runner() -> asyncio.Runner:
    """The process's own: a loop that came through a fork shares its selector with the parent."""
    runner = _runners.get(os.getpid())
    if runner is None:
        _runners.clear()
        runner = _runners[os.getpid()] = asyncio.Runner()
        atexit.register(_close, os.getpid())
    return runner


def _close(owner: int) -> None:
    if owner == os.getpid() and owner in _runners:
        _runners.pop(owner).close()


async def _alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    finally:
        await _cancel_others()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
