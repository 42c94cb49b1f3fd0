"""Sensors' functions: how they are called, and which events and cursors their values stand for."""

from __future__ import annotations

import datetime
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from headrace.blocks import calling, sensing
from headrace.blocks.calling import BlockArgumentsFault
from headrace.blocks.event import Event
from headrace.blocks.sensing import Delivery, NotStorable, SensorOptionFault, delivery_of

NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)


def collected(text: str) -> calling.Collected:
    return calling.collect(textwrap.dedent(text), "/p/sensors/look.py", "sensor", {})


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("", "True"),
        ("*args", "args == (3,)"),
        ("**kwargs", "kwargs['day'] == 'x'"),
        ("x", "x == 3"),
        ("cursor, x", "cursor is None and x == 3"),
        ("cursor, *args", "cursor is None and args == (3,)"),
        ("x, day, *, cursor", "(x, day, cursor) == (3, 'x', None)"),
        ("x, y=2, *, day='y', **rest", "(x, y, day, rest) == (3, 2, 'x', {})"),
    ],
)
def test_a_sensor_gets_what_it_takes(signature: str, body: str) -> None:
    found = collected(f"@sensor\ndef look({signature}):\n    return {body}\n")
    assert sensing.call_sensor(found, {"up": [3]}, {"day": "x"})


def test_a_parameter_that_nothing_fills_is_told_by_its_name() -> None:
    found = collected("@sensor\ndef look(path):\n    return path\n")
    with pytest.raises(BlockArgumentsFault, match="'path'"):
        sensing.called(found, {}, {})


@pytest.mark.parametrize(
    ("decorator", "configuration", "seconds"),
    [("@sensor", {}, 60.0), ("@sensor", {"poll_interval": 7}, 7.0), ("@sensor(interval=5)", {"poll_interval": 7}, 5.0)],
)
def test_a_sensors_interval_is_the_decorators_then_the_configurations(
    decorator: str, configuration: dict[str, Any], seconds: float
) -> None:
    found = collected(f"{decorator}\ndef look():\n    return False\n")
    assert not sensing.call_sensor(found, {}, {})
    assert sensing.sensor_interval(found, configuration) == seconds


@pytest.mark.parametrize("value", ["'soon'", "0", "-1", "float('nan')", "float('inf')"])
def test_an_option_that_is_no_number_of_seconds_is_refused(value: str) -> None:
    found = collected(f"@sensor(deadline={value})\ndef look():\n    return False\n")
    with pytest.raises(SensorOptionFault, match="deadline"):
        sensing.sensor_seconds(found, "deadline")


@pytest.mark.parametrize(
    ("value", "events"),
    [
        (None, []),
        (False, []),
        ([], []),
        (0, []),
        (True, [Event()]),
        ("inbox/a.csv", [Event({"value": "inbox/a.csv"})]),
        (object(), [Event()]),
        (Event({"a": 1}, key="k"), [Event({"a": 1}, key="k")]),
        ({"a": 1}, [Event({"a": 1})]),
        ([{"a": 1}, Event(key="k")], [Event({"a": 1}), Event(key="k")]),
        (["a.csv", "b.csv"], [Event({"value": ["a.csv", "b.csv"]})]),
    ],
)
def test_each_form_of_telling_stands_for_its_events(value: Any, events: list[Event]) -> None:
    assert delivery_of(value, with_cursor=False) == Delivery(tuple(events))
    assert delivery_of(value, with_cursor=True) == Delivery(tuple(events))


def test_a_pair_is_events_and_cursor_only_for_a_function_that_takes_a_cursor() -> None:
    assert delivery_of(([{"a": 1}], 7), with_cursor=True) == Delivery((Event({"a": 1}),), 7)
    assert delivery_of((None, 7), with_cursor=True) == Delivery((), 7)
    assert delivery_of((None, 7), with_cursor=False).events == (Event({"value": (None, 7)}),)


def test_the_cursor_of_the_last_event_that_has_one_counts() -> None:
    events = [Event(cursor=1), Event(cursor=2), Event()]
    assert delivery_of(events, with_cursor=True).cursor == 2


def test_in_a_pipeline_a_generator_is_closed_at_its_first_event() -> None:
    found = collected("""
        ran = []
        @sensor
        def look():
            yield None
            ran.append("before")
            yield {"a": 1}
            ran.append("after")
        @custom
        def read(): return ran
    """)
    assert sensing.call_sensor(found, {}, {})
    assert found.registry.of("custom")[0]() == ["before"]


def test_in_a_pipeline_an_async_generator_is_done_with_its_first_event_and_cleans_up(tmp_path: Path) -> None:
    left = tmp_path / "left"
    found = collected(f"""
        import asyncio, pathlib
        @sensor
        async def look(cursor):
            try:
                while True:
                    await asyncio.sleep(0)
                    yield {{"a": 1}}
            finally:
                pathlib.Path({str(left)!r}).touch()
    """)
    assert sensing.call_sensor(found, {}, {})
    assert left.exists()


def test_a_cursor_comes_back_as_it_was_given() -> None:
    cursor = {"since": NOON, "pages": [1, {"at": NOON}], "name": "x", "none": None}
    assert sensing.cursor_from_json(sensing.cursor_to_json(cursor)) == cursor


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"at": NOON, "on": NOON.date()}, '{"at":"2026-05-01T12:00:00+00:00","on":"2026-05-01"}'),
        ({"n": Decimal("1.10"), "u": UUID(int=1)}, '{"n":"1.10","u":"00000000-0000-0000-0000-000000000001"}'),
        ({"n": np.int64(3), "b": np.bool_(True)}, '{"n":3,"b":true}'),
    ],
)
def test_a_payload_of_database_values_becomes_json(value: Any, text: str) -> None:
    assert sensing.json_text(value) == text


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": b"x"}, {"a": {1, 2}}, {("a",): 1}, np.arange(3)])
def test_a_payload_that_json_has_no_word_for_is_refused(value: Any) -> None:
    with pytest.raises(NotStorable, match="JSON"):
        sensing.json_text(value)


def test_in_a_pipeline_a_generators_cursor_is_the_last_one_until_its_first_event() -> None:
    found = collected("""
        @sensor
        def look(cursor):
            yield [], cursor + 1
            yield {"a": 1}
            yield {"a": 2}, 99
    """)
    assert sensing.call_sensor(found, {}, {}, cursor=3) == Delivery((Event({"a": 1}),), 4)
