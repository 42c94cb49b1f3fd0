"""A client library that is not there is asked for by the name of its extra."""

from __future__ import annotations

import sys
import tomllib

import pytest
from headrace.blocks.sensors.catalog import BUILT_IN, built_in
from headrace.blocks.sensors.clients import ClientMissing, client

from tests.support.checkout import ROOT

EXTRAS = {
    "redis.asyncio": "redis",
    "aio_pika": "rabbitmq",
    "nats": "nats",
    "paho.mqtt.client": "mqtt",
    "aiokafka": "kafka",
    "jsonpath": "jsonpath",
}


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module.split(".")[0]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    sys.path_importer_cache.clear()
    with pytest.raises(ClientMissing, match=rf"headrace\[{extra}\]"):
        client(module, extra)


def test_every_extra_that_is_named_is_one_of_the_packages() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_a_built_in_sensor_is_loaded_without_its_client(name: str) -> None:
    assert built_in(name).__doc__
