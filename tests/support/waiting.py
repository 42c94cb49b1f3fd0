"""Waits for what a test can only see by looking again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

LOOK_SECONDS = 0.02
T = TypeVar("T")


async def until(read: Callable[[], Awaitable[T]], holds: Callable[[T], object] = bool, *, within: float = 20) -> T:
    """What is read, as soon as something holds of it."""
    seen: T | None = None
    try:
        async with asyncio.timeout(within):
            while not holds(seen := await read()):
                await asyncio.sleep(LOOK_SECONDS)
            return seen
    except TimeoutError:
        raise AssertionError(f"within {within:g} s it did not come to hold; last seen: {seen!r}") from None
