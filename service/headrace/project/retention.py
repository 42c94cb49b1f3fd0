"""Reads how long a project and its pipelines want what they recorded kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace.domain.retention import Retention
from headrace.project.policies import Refuse, is_number, memory

_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS = {"": "s", "sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d", "week": "w"}
AGES = ("runs", "outputs", "logs", "events")
KEYS = (*AGES, "output_bytes")


def retention_of(base: Retention, value: Any, refuse: Refuse) -> Retention:
    """`base` with what a `retention` names laid over it: ages such as `90d` or `12 hours`, and `output_bytes`."""
    if value is None:
        return base
    if not isinstance(value, dict):
        refuse("retention", "retention is not a mapping.", "Write `runs: 90d` and the like under it.")
        return base
    for key in value.keys() - KEYS:
        refuse("retention", f"retention: there is no key {key}.", f"Write of: {', '.join(KEYS)}.")
    given = {name: _age(value[name], name, refuse) if name in value else getattr(base, name) for name in AGES}
    size = value.get("output_bytes")
    return Retention(**given, output_bytes=base.output_bytes if size is None else memory(size, refuse))


def _age(value: Any, name: str, refuse: Refuse) -> float | None:
    if value is None:
        return None
    if is_number(value) and value > 0:
        return float(value)
    found = _AGE.fullmatch(value.lower()) if isinstance(value, str) else None
    unit = "" if found is None else found[2]
    unit = _UNITS.get(unit.removesuffix("s") if len(unit) > 1 else unit, unit)
    if found is None or unit not in _SECONDS or not float(found[1]):
        refuse("retention", f"retention: {name} cannot be {value!r}.", "Write seconds, or an age such as 90d or 12h.")
        return None
    return float(found[1]) * _SECONDS[unit]


def settings_retention(settings: Mapping[str, Any]) -> Any:
    """The project's `retention`, Mage's own keys taken for those that it does not name."""
    given = settings.get("retention") or {}
    logging = settings.get("logging_config")
    mages = {
        "outputs": settings.get("variables_retention_period"),
        "logs": logging.get("retention_period") if isinstance(logging, dict) else None,
    }
    if not isinstance(given, dict):
        return given
    return {**{name: age for name, age in mages.items() if age is not None}, **given}
