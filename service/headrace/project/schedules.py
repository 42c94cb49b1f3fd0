"""Reads the keys of a trigger that say when it is due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.domain.schedules import Schedule
from headrace.project.policies import Refuse


def schedule_of(values: Mapping[str, Any], refuse: Refuse) -> Schedule | None:
    """The schedule of a trigger's values, those under `settings` among them; None where it is refused."""
    given = values.get("schedule_interval")
    expressions = given if isinstance(given, list) else [given]
    texts = tuple(text.strip() for text in expressions if isinstance(text, str) and text.strip())
    if len(texts) < len(expressions) or not texts:
        refuse("schedule_interval", f"schedule_interval cannot be {given!r}.", "Write @daily or a cron expression.")
        return None
    return Schedule(texts)
