"""The sensors on the page on sensors are called as they stand, and its table names every built-in one."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from headrace.blocks import calling, sensing
from headrace.blocks.sensors.catalog import BUILT_IN
from headrace.mage import install

from tests.support.checkout import ROOT
from tests.support.documents import code_in

PAGE = ROOT / "docs" / "sensors.md"
SENSORS = {f"line {code.line}": code.text for code in code_in(PAGE) if code.language == "python"}


def values_of(text: str, **kwargs: object) -> list[object]:
    """All that the sensor of a source gives in one look."""
    found = calling.collect(text, str(PAGE), "sensor", {})
    value = sensing.called(found, {}, kwargs, cursor=None)

    async def listed() -> list[object]:
        return [item async for item in value]

    return asyncio.run(listed()) if inspect.isasyncgen(value) else [value]


@pytest.mark.parametrize("text", [text for text in SENSORS.values() if "mage_ai" not in text])
def test_a_sensor_on_the_page_gives_events(text: str) -> None:
    given = values_of(text, shop="north")
    assert all(sensing.delivery_of(value, with_cursor=True) for value in given)
    assert sensing.delivery_of(given[-1], with_cursor=True).cursor is not None


def test_mages_function_on_the_page_is_ours() -> None:
    install()
    (text,) = [text for text in SENSORS.values() if "mage_ai" in text]
    assert calling.collect(text, str(PAGE), "sensor", {}).functions


def test_every_built_in_sensor_stands_in_the_table() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert {f"`{name}`" for name in BUILT_IN} <= set(rows)
