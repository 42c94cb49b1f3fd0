"""The decorators that mark a block's functions. Injected and imported ones are the same: both fill the registry of the
source that is being executed; outside of that they give the function back as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., Any]


@dataclass
class Registry:
    """The functions that one source marked, in the order of the file."""

    namespace: dict[str, Any] = field(default_factory=dict)
    """The source's globals: what a module that it imports marks is not the block's."""
    marked: dict[str, list[Function]] = field(default_factory=dict)
    sensor_options: dict[str, Any] = field(default_factory=dict)
    """The options of the first function marked as a sensor."""
    callbacks: dict[str, list[Function]] = field(default_factory=dict)

    def of(self, name: str) -> list[Function]:
        """The functions marked `name`, the first in the file first."""
        return self.marked.get(name, [])


ACTIVE: ContextVar[Registry | None] = ContextVar("headrace_registry", default=None)


def _registry() -> Registry | None:
    """The registry of the source whose own code applies a decorator right now."""
    registry = ACTIVE.get()
    if registry is None or sys._getframe(2).f_globals is not registry.namespace:
        return None
    return registry


def _marker(name: str) -> Callable[..., Any]:
    def apply(registry: Registry | None, function: Function, options: dict[str, Any]) -> Function:
        if registry is None:
            return function
        registry.marked.setdefault(name, []).append(function)
        if name == "sensor" and len(registry.of(name)) == 1:
            registry.sensor_options = options
        return function

    def mark(function: Any = None, *_: Any, **options: Any) -> Any:
        if callable(function):
            return apply(_registry(), function, options)
        return lambda real: apply(_registry(), real, options)

    mark.__name__ = mark.__qualname__ = name
    mark.__doc__ = f"Mark a function as the block's {name}; with options or without."
    return mark


data_loader = _marker("data_loader")
transformer = _marker("transformer")
data_exporter = _marker("data_exporter")
custom = _marker("custom")
sensor = _marker("sensor")
condition = _marker("condition")
test = _marker("test")
preprocesser = _marker("preprocesser")

test.__dict__["__test__"] = False


def callback(status: Any = "success", *_: Any, **__: Any) -> Any:
    """Mark a function to be called after a block: `@callback` after success, or `@callback('failure')`."""
    if callable(status):
        return _marked_callback(_registry(), "success", status)
    return lambda function: _marked_callback(_registry(), str(status), function)


def on_success(function: Function) -> Function:
    """Mark a function to be called after a block that succeeded (the older form of `@callback('success')`)."""
    return _marked_callback(_registry(), "success", function)


def on_failure(function: Function) -> Function:
    """Mark a function to be called after a block that failed (the older form of `@callback('failure')`)."""
    return _marked_callback(_registry(), "failure", function)


def _marked_callback(registry: Registry | None, status: str, function: Function) -> Function:
    if registry is not None:
        registry.callbacks.setdefault(status, []).append(function)
    return function


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    return function if callable(function) else lambda real: real


def collect_decorated_objs(decorated_objs: list[Any]) -> Callable[[Any], Any]:
    """A decorator that adds what it decorates to a list."""

    def collect(decorated: Any) -> Any:
        decorated_objs.append(decorated)
        return decorated

    return collect


IGNORED = (
    "extension", "data_source", "xy", "x", "y", "render", "columns", "configuration", "streaming_source",
    "streaming_sink", "data_integration_source", "data_integration_destination", "data_integration_config",
    "data_integration_selected_streams", "data_integration_catalog", "data_integration_query",
    "preprocesser_functions",
)  # fmt: skip
"""Decorators that projects import and that mean nothing to a batch run: they give the function back."""

INJECTED: dict[str, Any] = {
    "data_loader": data_loader,
    "transformer": transformer,
    "data_exporter": data_exporter,
    "custom": custom,
    "sensor": sensor,
    "condition": condition,
    "callback": callback,
    "on_success": on_success,
    "on_failure": on_failure,
    "test": test,
    "preprocesser": preprocesser,
}
"""Names that a block's source finds without importing them."""


def __getattr__(name: str) -> Any:
    if name in IGNORED:
        return _unmarked
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
