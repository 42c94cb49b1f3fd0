"""Headrace: an asynchronous, event-driven orchestrator for data pipelines.

What block authors import is here too. The names resolve at first use, so that the service never loads pandas for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.blocks.context import get_repo_path
    from headrace.blocks.decorators import (
        callback,
        condition,
        custom,
        data_exporter,
        data_loader,
        on_failure,
        on_success,
        preprocesser,
        sensor,
        test,
        transformer,
    )
    from headrace.blocks.event import Event

_DECORATORS = (
    "callback", "condition", "custom", "data_exporter", "data_loader", "on_failure", "on_success", "preprocesser",
    "sensor", "test", "transformer",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(_DECORATORS, "headrace.blocks.decorators"),
    "Event": "headrace.blocks.event",
    "get_repo_path": "headrace.blocks.context",
}

__all__ = [
    "Event",
    "callback",
    "condition",
    "custom",
    "data_exporter",
    "data_loader",
    "get_repo_path",
    "on_failure",
    "on_success",
    "preprocesser",
    "sensor",
    "test",
    "transformer",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
