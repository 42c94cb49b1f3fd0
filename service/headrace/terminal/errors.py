"""How the command line ends: its exit codes, and errors as what happened and what to do next, never a traceback."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.project.faults import Fault, NoProject, ProjectFault
from headrace.store.errors import DATABASE_AWAY, StoreError
from headrace.terminal.screen import Screen


class ExitCode(IntEnum):
    """What a command's exit code says."""

    COMPLETED = 0
    """All went well; a run that was followed completed."""
    FAILED = 1
    """The run that was followed failed or was cancelled from elsewhere, or a test failed."""
    INVALID = 2
    """The command, the project or an id in it cannot be used as given."""
    NO_DATABASE = 3
    """The database cannot be reached or used."""
    INTERRUPTED = 130
    """Ctrl-C: a run that was followed has been cancelled."""


DATABASE_LOST: tuple[type[BaseException], ...] = (
    ConnectionError,
    *(kind for kind in DATABASE_AWAY if kind is not OSError),
)
"""What a command raises whose database went away."""

MACHINE = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE,
})  # fmt: skip
"""System errors that tell of the machine, not of a fault in Headrace."""


def finish(screen: Screen, work: Callable[[], int] | Coroutine[Any, Any, int]) -> int:
    """Do a command's work, and give its exit code; what goes wrong is told."""
    try:
        return work() if callable(work) else _run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ExitCode.INTERRUPTED
    except Exception as error:  # the boundary of this process: what is not told here is a fault of ours
        code = tell(screen, error)
        if code is None:
            raise
        return code


def _run(work: Coroutine[Any, Any, int]) -> int:
    import uvloop  # not for the commands that need no event loop

    return uvloop.run(work)


def tell(screen: Screen, error: BaseException) -> ExitCode | None:
    """Print an error of ours, or a group of such errors, and give the exit code; None, nothing printed, for others."""
    leaves = list(_leaves(error))
    if not all(isinstance(leaf, (HeadraceError, *DATABASE_LOST)) or _is_machines(leaf) for leaf in leaves):
        return None
    for leaf in leaves:
        for code, message, remedy in _messages(leaf, screen.project):
            screen.err.print(f"error[{code}]:", style="bold red", markup=False, end=" ")
            screen.err.say(screen.spelling.spelled(message))
            if remedy:
                screen.err.say(f"→ {screen.spelling.spelled(remedy)}")
    return max(_exit_code(leaf) for leaf in leaves)


def _exit_code(error: BaseException) -> ExitCode:
    if isinstance(error, (StoreError, *DATABASE_LOST)):
        return ExitCode.NO_DATABASE
    return ExitCode.INVALID if isinstance(error, HeadraceError) else ExitCode.FAILED


def _is_machines(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in MACHINE


def place_of(fault: Fault, project: Path) -> str:
    """File and line of a fault, as an editor takes them from where the reader stands."""
    file = fault.file if project == Path() else str(project / fault.file)
    return file if fault.line is None else f"{file}:{fault.line}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside a group, to any depth: a task group wraps what its body raises."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from _leaves(inner)


def _messages(error: BaseException, project: Path) -> Iterator[tuple[str, str, str]]:
    """Code, message and remedy of an error; of each fault, where it holds several."""
    if isinstance(error, ProjectFault) and error.faults:
        for fault in error.faults:
            message = fault.message if isinstance(error, NoProject) else f"{place_of(fault, project)}: {fault.message}"
            yield error.code, message, fault.remedy
    elif isinstance(error, HeadraceError):
        yield error.code, error.message, error.remedy
    elif _is_machines(error):
        yield "system", f"The system refused: {error}", "Mend that, then run the command again."
    else:
        told = str(error) or type(error).__name__
        yield "database-unavailable", f"The connection to the database was lost: {told}", "Try again."
