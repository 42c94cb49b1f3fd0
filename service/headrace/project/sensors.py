"""Reads the keys of a trigger that say which sensor it listens to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.domain.triggers import SensorWatch
from headrace.project.policies import Refuse


def sensor_watch_of(value: Any, environ: Mapping[str, str], refuse: Refuse) -> SensorWatch | None:
    """The sensor that a trigger's `sensor` names; a bare text is its name. None where it is refused."""
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not given.get("name"):
        refuse("sensor", "it names no sensor.", "Write `sensor:` and under it `name:`, a file of sensors/.")
        return None
    settings = {key: item for key, item in given.items() if key != "name"}
    return SensorWatch(str(given["name"]), settings)
