"""Reads the keys of a trigger that say which sensor it listens to, and how often and how long that one may look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.blocks.sensors.catalog import BUILT_IN, misfits
from headrace.domain.triggers import SensorWatch
from headrace.project.plain import NotPlain, plain
from headrace.project.policies import Refuse, is_number

KEYS = ("name", "use", "interval", "deadline", "configuration")
_SECONDS = ("interval", "deadline")


def sensor_watch_of(value: Any, named: str, refuse: Refuse) -> SensorWatch | None:
    """The sensor under a trigger's `sensor`; a bare text is its name, `named` where it has none. None where refused.

    A sensor is a file `sensors/<name>.py`; with `use`, that file or built-in sensor under a name of its own.
    """
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not (given.get("name") or given.get("use")):
        refuse("sensor", "it names no sensor.", "Write `sensor:` and under it `name:`, a file of sensors/, or `use:`.")
        return None
    reading = _Reading(given, refuse)
    settings = reading.settings()
    if reading.is_refused:
        return None
    return SensorWatch(str(given.get("name") or named), settings)


class _Reading:
    """One `sensor` while it is read."""

    def __init__(self, given: Mapping[str, Any], refuse: Refuse) -> None:
        self._given = given
        self._refuse = refuse
        self.is_refused = False

    def settings(self) -> dict[str, Any]:
        """What is given beside the name, each part checked."""
        for key in self._given:
            if key not in KEYS:
                remedy = f"Keys: {', '.join(KEYS)}. What the sensor itself takes goes under configuration."
                self._wrong(str(key), f"sensor has no key {key}.", remedy)
        found: dict[str, Any] = {key: self._seconds(key) for key in _SECONDS if self._given.get(key) is not None}
        if (use := self._given.get("use")) is not None:
            found["use"] = self._use(use)
        if (configuration := self._configuration()) or use in BUILT_IN:
            found["configuration"] = configuration
        if use in BUILT_IN:
            self._check(str(use), configuration)
        return found

    def _seconds(self, key: str) -> float:
        value = self._given[key]
        if not is_number(value) or not 0 < value < float("inf"):
            self._wrong(key, f"{key} cannot be {value!r}.", "Write a number of seconds above 0.")
            return 0.0
        return float(value)

    def _use(self, use: Any) -> str:
        if use not in BUILT_IN and not (isinstance(use, str) and use.endswith(".py")):
            remedy = f"Name a file such as sensors/orders.py, or one that is built in: {', '.join(BUILT_IN)}."
            self._wrong("use", f"there is no sensor {use!r}.", remedy)
        return str(use)

    def _configuration(self) -> dict[str, Any]:
        given = self._given.get("configuration")
        if given is None:
            return {}
        if not isinstance(given, dict):
            self._wrong("configuration", "configuration is not a mapping.", "Write one `key: value` a line.")
            return {}
        try:
            kept: dict[str, Any] = plain(given)
        except NotPlain as error:
            self._wrong("configuration", f"configuration: {error}.", "Write it as text.")
            return {}
        return kept

    def _check(self, use: str, configuration: Mapping[str, Any]) -> None:
        for misfit in misfits(use, configuration):
            key = f"configuration.{misfit.key}" if misfit.key else "configuration"
            self._wrong(key, misfit.message, misfit.remedy)

    def _wrong(self, key: str, message: str, remedy: str) -> None:
        self.is_refused = True
        self._refuse(f"sensor.{key}", message, remedy)
