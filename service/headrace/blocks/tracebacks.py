"""Tracebacks as a block's author wants them: without Headrace's frames, with the author's and the libraries'."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import sysconfig
import traceback
from collections.abc import Iterable

from headrace.domain.errors import HeadraceError

OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_WAITING = (
    *(os.path.join(os.path.dirname(str(module.__file__)), "") for module in (asyncio, concurrent.futures)),
    str(functools.__file__),
)
_LIBRARIES = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "purelib", "platlib")})


def user_frames(error: BaseException, own_root: str = OURS) -> list[tuple[str, int, str, str]]:
    """File, line, function and text of each frame that is not under `own_root`, the outermost first.

    For a source that does not compile it is the one place of the syntax error.
    """
    stack = _without_ours(traceback.extract_tb(error.__traceback__), own_root)
    frames = [(frame.filename, frame.lineno or 0, frame.name, frame.line or "") for frame in stack]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0, "", (error.text or "").strip()))
    return frames


def format_without_ours(error: BaseException, own_root: str = OURS) -> str:
    """The traceback as Python prints it, with none of Headrace's own frames in it nor in its causes.

    What a library raised within Headrace is left out: the error that Headrace made of it says the same.
    """
    told = traceback.TracebackException.from_exception(error)
    _strip(told, own_root, set())
    _leave_out_sources(told, error)
    return "".join(told.format())


def _leave_out_sources(told: traceback.TracebackException, error: BaseException) -> None:
    cause, raised = told.__cause__, error.__cause__
    if cause is None or raised is None:
        return
    _leave_out_sources(cause, raised)
    if isinstance(error, HeadraceError) and cause.__cause__ is None and all(map(_of_library, cause.stack or ())):
        told.__cause__ = None
        told.__suppress_context__ = True


def _of_library(frame: traceback.FrameSummary) -> bool:
    """Whether a frame is of an installed package; compiled ones name their source without a folder to look in."""
    return frame.filename.startswith(_LIBRARIES) or not os.path.isabs(frame.filename)


def _strip(told: traceback.TracebackException, own_root: str, seen: set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    kept = _without_ours(told.stack, own_root)
    # Without a stack Python leaves out the line "Traceback (most recent call last)" as well.
    told.stack = traceback.StackSummary.from_list(kept) if kept else None  # type: ignore[assignment]
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _strip(other, own_root, seen)


def _without_ours(stack: Iterable[traceback.FrameSummary], own_root: str) -> list[traceback.FrameSummary]:
    kept: list[traceback.FrameSummary] = []
    driving = True
    for frame in stack:
        ours = frame.filename.startswith(own_root)
        # Frames right after ours: they drive an `async def` block, a connector's own loop, or a cached property.
        driving = ours or (driving and frame.filename.startswith(_WAITING))
        if not driving:
            kept.append(frame)
    return kept
