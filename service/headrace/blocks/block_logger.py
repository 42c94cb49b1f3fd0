"""The logger that a block gets as a keyword argument: it takes any keywords, as Mage's does, and writes them out."""

from __future__ import annotations

import logging
from typing import Any


class BlockLogger(logging.Logger):
    """A logger of Python's own, to which `logger.info("loaded", rows=3)` means `loaded rows=3`."""

    def _log(self, level: int, msg: object, args: Any, *standard: Any, **keywords: Any) -> None:
        tags = {name: keywords.pop(name) for name in list(keywords) if name not in _STANDARD}
        if tags:
            told = " ".join(f"{name}={value!r}" for name, value in tags.items())
            msg = f"{msg} {told.replace('%', '%%') if args else told}"
        super()._log(level, msg, args, *standard, **keywords)


_STANDARD = frozenset({"exc_info", "extra", "stack_info", "stacklevel"})


def block_logger(block: str) -> logging.Logger:
    """The logger of a block."""
    before = logging.getLoggerClass()
    logging.setLoggerClass(BlockLogger)
    try:
        return logging.getLogger(f"headrace.block.{block}")
    finally:
        logging.setLoggerClass(before)
