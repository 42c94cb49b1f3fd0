"""`headrace start`: serves projects until it is told to stop, its log on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.project.following import FollowedProject
from headrace.serving import Service, ServiceSettings
from headrace.terminal.screen import Screen


class LineFormatter(logging.Formatter):
    """A record as one line: time, level, the part of Headrace, the message; a traceback follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("{asctime}.{msecs:03.0f} {levelname:<7} {part}: {message}", "%Y-%m-%d %H:%M:%S", "{")

    def format(self, record: logging.LogRecord) -> str:
        record.part = record.name.removeprefix("headrace.")
        return super().format(record)


def log_lines() -> None:
    """Have the log written to standard error line by line; of libraries only what is wrong."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[stream], force=True)
    logging.getLogger("headrace").setLevel(logging.INFO)


async def start_service(screen: Screen, projects: Sequence[Path], settings: ServiceSettings) -> int:
    """Serve these projects until told to stop; the exit code. Raises what keeps the service from starting."""
    log_lines()
    roots = dict.fromkeys(path.resolve() for path in projects)
    followed = [FollowedProject(root, os.environ) for root in roots]
    return await Service(followed, os.environ, settings, screen.out.say).run()
