"""A sensor's function: how it is called, and which events and which cursor it gives, whatever form it gives them in.

`None` and every false value are no event. An Event is one, a mapping is the payload of one, a list of these is as many;
any other true value is one. From a function that takes `cursor`, a tuple of two is (events, the new cursor).
"""

from __future__ import annotations

import datetime
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from headrace.blocks.calling import (
    BlockArgumentsFault,
    Collected,
    Inputs,
    argument,
    first_function,
    name_of,
    settled,
)
from headrace.blocks.coroutines import result_of
from headrace.blocks.event import Event
from headrace.domain.errors import HeadraceError

SENSOR_SECONDS = 60.0
"""Between two looks where nothing else is said."""
CURSOR = "cursor"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Function = Callable[..., Any]


class NotStorable(HeadraceError):
    """An event's payload, or a cursor, holds something that has no place in JSON."""

    code = "not-json"


class SensorOptionFault(HeadraceError):
    """An option of @sensor is not a number of seconds."""

    code = "sensor-option"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events that are committed together, and the cursor that is committed with them; None leaves it as it is."""

    events: tuple[Event, ...] = ()
    cursor: Any = None

    def __bool__(self) -> bool:
        return bool(self.events)


def call_sensor(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any], cursor: Any = None) -> Delivery:
    """One look of a sensor in a pipeline: the first events that it gave, or none.

    A generator is closed at its first event, so what stands behind that `yield` does not run.
    """
    value = called(collected, inputs, kwargs, cursor)
    with_cursor = takes_cursor(first_function(collected))
    if inspect.isasyncgen(value):
        first: Delivery = result_of(_first_delivery(value, with_cursor))
        return first
    if inspect.isgenerator(value):
        last = Delivery()
        for item in value:
            last = _after(last, delivery_of(item, with_cursor))
            if last:
                break
        return last
    return delivery_of(settled(value), with_cursor)


async def _first_delivery(values: Any, with_cursor: bool) -> Delivery:
    last = Delivery()
    try:
        async for value in values:
            last = _after(last, delivery_of(value, with_cursor))
            if last:
                break
    finally:
        await values.aclose()
    return last


def _after(earlier: Delivery, later: Delivery) -> Delivery:
    """The later of two deliveries, with the earlier one's cursor where it leaves that as it is."""
    return later if later.cursor is not None else Delivery(later.events, earlier.cursor)


def called(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any], cursor: Any = None) -> Any:
    """What the sensor's function gives as it is: a value, a coroutine or a generator.

    Upstream outputs go to its parameters in their order; parameters without one, and those after `*`, are filled from
    `kwargs` by name; `**kwargs` takes the rest. Raises BlockArgumentsFault for one that nothing fills.
    """
    function = first_function(collected)
    positional, named = _arguments(function, [argument(outputs) for outputs in inputs.values()], kwargs, cursor)
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError as error:
        raise BlockArgumentsFault(
            f"The sensor {name_of(function)} in {collected.path} was not called: {error}.",
            remedy="Its parameters are `cursor`, names of its configuration or of variables, *args and **kwargs.",
        ) from None
    return function(*positional, **named)


def _arguments(
    function: Function, given: list[Any], kwargs: Mapping[str, Any], cursor: Any
) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    rest = {**kwargs, CURSOR: cursor} if takes_cursor(function) else dict(kwargs)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in _POSITIONAL and given and parameter.name != CURSOR:
            positional.append(given.pop(0))
            rest.pop(parameter.name, None)
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            positional.extend(given)
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(rest)
        elif parameter.kind in _POSITIONAL and parameter.name in rest and not named:
            positional.append(rest.pop(parameter.name))
        elif parameter.name in rest:
            named[parameter.name] = rest.pop(parameter.name)
        elif parameter.kind in _POSITIONAL and parameter.default is not parameter.empty and not named:
            positional.append(parameter.default)
    return positional, named


def takes_cursor(function: Function) -> bool:
    """Whether the function has a parameter `cursor`."""
    return CURSOR in inspect.signature(function).parameters


def is_stream(function: Function) -> bool:
    """Whether the function is a generator: each of its yields is committed before it goes on."""
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def sensor_interval(collected: Collected, configuration: Mapping[str, Any]) -> float:
    """Seconds between two looks: the decorator's interval, else the block's `poll_interval`, else 60."""
    given = sensor_seconds(collected, "interval")
    return float(configuration.get("poll_interval") or SENSOR_SECONDS) if given is None else given


def sensor_seconds(collected: Collected, option: str) -> float | None:
    """An option of the decorator in seconds; None where it is not given. Raises SensorOptionFault."""
    value = collected.registry.sensor_options.get(option)
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SensorOptionFault(
            f"{option} of @sensor in {collected.path} is {value!r}.", remedy="Write a number of seconds above 0."
        )
    return seconds


def delivery_of(value: Any, with_cursor: bool) -> Delivery:
    """What one returned or yielded value stands for; `with_cursor` where the function takes one."""
    cursor: Any = None
    if with_cursor and isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], Event):
        value, cursor = value
    events = _events(value)
    if cursor is None:
        cursor = next((event.cursor for event in reversed(events) if event.cursor is not None), None)
    return Delivery(events, cursor)


def _events(value: Any) -> tuple[Event, ...]:
    if inspect.isgenerator(value):
        value = list(value)
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (Event, Mapping)) for item in value):
        return tuple(_event(item) for item in value)
    if isinstance(value, Event):
        return (value,)
    return (_event(value),) if value else ()


def _event(value: Any) -> Event:
    if isinstance(value, Event):
        return value
    if isinstance(value, Mapping):
        return Event(payload=value)
    return Event() if value is True else Event(payload=_told(value))


def _told(value: Any) -> Mapping[str, Any]:
    """A true value in an event's payload, where it has a place there."""
    try:
        json_text(value)
    except NotStorable:
        return {}
    return {"value": value}


def json_text(value: Any) -> str:
    """A payload or cursor as JSON. Raises NotStorable."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotStorable(
            f"An event's payload and a cursor are JSON values; this one is not: {error}.",
            remedy="Use dicts with text keys, lists, texts, finite numbers, booleans, None, dates, UUIDs and Decimals.",
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (datetime.date, datetime.time)):  # and datetime
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        raise TypeError(f"a {type(value).__name__} has no order")
    if hasattr(value, "item") and callable(value.item):  # a number of numpy
        return value.item()
    raise TypeError(f"a {type(value).__name__} is none")


def cursor_to_json(value: Any) -> Any:
    """A cursor as it is kept: a datetime in it, and only that, comes back as what it was."""
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, Mapping):
        return {str(key): cursor_to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [cursor_to_json(item) for item in value]
    return value


def cursor_from_json(value: Any) -> Any:
    """A kept cursor as the function gets it."""
    if isinstance(value, Mapping):
        if value.keys() == {"$datetime"}:
            return datetime.datetime.fromisoformat(value["$datetime"])
        return {key: cursor_from_json(item) for key, item in value.items()}
    return [cursor_from_json(item) for item in value] if isinstance(value, list) else value


def event_text(event: Event) -> str:
    """An event as JSON, as it travels to the service. Raises NotStorable."""
    return json_text(
        {
            "payload": event.payload,
            "key": None if event.key is None else str(event.key),
            "occurred_at": event.occurred_at,
            "execution_date": event.execution_date,
            "headers": {str(name): str(value) for name, value in event.headers.items()},
        }
    )
