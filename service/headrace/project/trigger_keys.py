"""The keys that a trigger of triggers.yaml may have; others have no effect, and are warned of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headrace.domain.suggesting import did_you_mean

EITHER = frozenset({
    "allow_blocks_to_fail", "at_limit", "create_initial_pipeline_run", "landing_time_enabled", "max_active_runs",
    "pipeline_run_limit", "priority", "skip_if_previous_running", "timeout",
})  # fmt: skip
"""Keys that may stand in the trigger itself or under its `settings`."""
SCHEDULE = frozenset({
    "catch_up", "dst_fold", "dst_gap", "end_time", "exclude", "jitter", "last_enabled_at", "schedule_interval",
    "start_time", "timezone",
})  # fmt: skip
MAGES = frozenset({
    "created_at", "global_data_product_uuid", "id", "repo_path", "started_at", "tags", "updated_at",
})  # fmt: skip
"""What Mage writes into the files of its triggers, and nobody needs."""
OWN = frozenset({
    "backfill", "batch", "debounce", "dedup_key", "description", "envs", "filter", "name", "pipeline_uuid", "run",
    "schedule_type", "sensor", "settings", "sla", "status", "token", "type", "variables", "webhook",
})  # fmt: skip
SETTINGS = EITHER | SCHEDULE
TRIGGER = SETTINGS | MAGES | OWN
BELOW: Mapping[str, frozenset[str]] = {
    "settings": SETTINGS,
    "batch": frozenset({"delay", "max_wait", "max_count"}),
    "debounce": frozenset({"delay", "max_wait", "max_count"}),
    "backfill": frozenset({"last", "interval", "concurrency", "reprocess", "order"}),
    "run": frozenset({"pipeline", "status", "statuses"}),
}
"""Keys of the mappings in a trigger; those of `webhook` and `sensor` are looked at where they are read."""

Warn = Callable[[str, str, str], None]
"""Takes a key (dots lead to those below others), what is wrong with it, and what to do."""


def warn_of_unknown_keys(trigger: Mapping[str, Any], warn: Warn) -> None:
    """Tell of each key that has no effect."""
    for key, known in _unknown(trigger):
        *above, name = key.split(".")
        place = f" under {above[0]}" if above else ""
        remedy = did_you_mean(name, known) or f"Known are: {', '.join(sorted(known))}."
        warn(key, f"there is no key {name}{place}: it has no effect.", remedy)


def _unknown(trigger: Mapping[str, Any]) -> Iterator[tuple[str, frozenset[str]]]:
    for key, value in trigger.items():
        if key not in TRIGGER:
            yield str(key), TRIGGER
        elif key in BELOW and isinstance(value, dict):
            yield from ((f"{key}.{below}", BELOW[key]) for below in value if below not in BELOW[key])
