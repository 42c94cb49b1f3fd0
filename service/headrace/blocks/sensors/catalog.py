"""Which sensors are built in, and whether a configuration fits one."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_HERE = "headrace.blocks.sensors"
BUILT_IN: Mapping[str, str] = {
    "file_arrival": f"{_HERE}.files",
    "http_poll": f"{_HERE}.http",
    "kafka_topic": f"{_HERE}.kafka",
    "mqtt_topic": f"{_HERE}.mqtt",
    "nats_jetstream": f"{_HERE}.nats",
    "pipeline_success": f"{_HERE}.runs",
    "postgres_notifications": f"{_HERE}.postgres",
    "postgres_outbox": f"{_HERE}.postgres",
    "postgres_rows": f"{_HERE}.postgres",
    "rabbitmq_queue": f"{_HERE}.rabbitmq",
    "redis_stream": f"{_HERE}.redis",
}
"""Name of each built-in sensor, to the module that holds it. The modules load their clients only when they are used."""

_KINDS: Sequence[tuple[type, tuple[type, ...], str]] = (
    (bool, (bool,), "true or false"),
    (int, (int,), "a whole number"),
    (float, (int, float), "a number"),
    (str, (str,), "a text"),
    (list, (list,), "a list"),
    (Mapping, (dict,), "a mapping"),
)


@dataclass(frozen=True, slots=True)
class Misfit:
    """What is wrong with one key of a sensor's configuration; `key` is empty for one that is missing."""

    key: str
    message: str
    remedy: str


def built_in(name: str) -> Callable[..., Any]:
    """The function of a built-in sensor. Raises KeyError."""
    function: Callable[..., Any] = getattr(import_module(BUILT_IN[name]), name)
    return function


def source_of(name: str) -> str:
    """The source that makes a built-in sensor run as if it stood in a file of the project."""
    return f"from {BUILT_IN[name]} import {name}\n\nsensor({name})\n"


def misfits(name: str, configuration: Mapping[str, Any]) -> list[Misfit]:
    """Whatever in a configuration does not fit the built-in sensor; templates are taken to be right."""
    function = built_in(name)
    hints = typing.get_type_hints(function)
    taken = {key: item for key, item in inspect.signature(function).parameters.items() if key != "cursor"}
    known = ", ".join(taken)
    found = [Misfit(key, f"{name} takes no {key}.", f"It takes: {known}.") for key in configuration if key not in taken]
    for key, parameter in taken.items():
        if key not in configuration:
            if parameter.default is parameter.empty:
                found.append(Misfit("", f"{name} needs {key}.", f"Write `{key}:` under configuration."))
            continue
        wanted = _wanted(configuration[key], hints[key])
        if wanted is not None:
            found.append(Misfit(key, f"{key} of {name} cannot be {configuration[key]!r}.", f"Write {wanted}."))
    return found


def _wanted(value: Any, hint: Any) -> str | None:
    """What should stand in the place of a value; None where it fits."""
    if isinstance(value, str) and "{{" in value:
        return None
    parts = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    told = []
    for part in parts:
        kind = typing.get_origin(part) or part
        if kind is type(None):
            if value is None:
                return None
            continue
        accepted, text = _accepted(kind)
        if isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool)):
            return None
        told.append(text)
    return " or ".join(told)


def _accepted(kind: Any) -> tuple[tuple[type, ...], str]:
    for known, accepted, text in _KINDS:
        if isinstance(kind, type) and issubclass(kind, known):
            return accepted, text
    return (object,), "another value"
