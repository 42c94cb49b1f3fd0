"""Retry, limits, timeouts and memory as metadata.yaml writes them, in Mage's names and ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from headrace.blocks.templating import TemplateError, check_syntax
from headrace.domain.limits import RunLimits
from headrace.domain.pipeline import Isolation, Limits
from headrace.domain.retry import RetryPolicy

Refuse = Callable[[str, str, str], None]
"""Called with a key, what is wrong with its value, and what to write instead."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[bB]?\s*")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_RETRY_NAMES: Mapping[str, str] = {
    "retries": "count",
    "count": "count",
    "delay": "delay",
    "max_delay": "cap",
    "cap": "cap",
    "factor": "factor",
    "jitter": "jitter",
}


def retry_policy(base: RetryPolicy, value: Any, refuse: Refuse) -> RetryPolicy:
    """`base` with what a `retry_config` names laid over it; what is wrong in it is refused and left out."""
    if value is None:
        return base
    if not isinstance(value, dict):
        refuse("retry_config", "retry_config is not a mapping.", "Write `retries:` and `delay:` under it.")
        return base
    given: dict[str, Any] = {}
    if isinstance(value.get("exponential_backoff"), bool):
        given["factor"] = 2.0 if value["exponential_backoff"] else 1.0
    for key, name in _RETRY_NAMES.items():
        if value.get(key) is None:
            continue
        if _retry_value_fits(name, value[key]):
            given[name] = value[key] if name == "count" else float(value[key])
        else:
            refuse(key, f"retry_config: {key} cannot be {value[key]!r}.", _RETRY_HINTS[name])
    return base.overlaid(given)


_RETRY_HINTS = {
    "count": "Write a whole number from 0.",
    "delay": "Write seconds, from 0.",
    "cap": "Write seconds, from 0.",
    "factor": "Write a number from 1.",
    "jitter": "Write a share from 0 to 1.",
}


def _retry_value_fits(name: str, value: Any) -> bool:
    if name == "count":
        return is_count(value, least=0)
    least, most = {"factor": (1.0, 1000.0), "jitter": (0.0, 1.0)}.get(name, (0.0, 1e9))
    return is_number(value) and least <= value <= most


def limits(base: Limits, value: Any, refuse: Refuse) -> Limits:
    """`base` with what a `concurrency_config` names laid over it."""
    if value is None:
        return base
    if not isinstance(value, dict):
        refuse("concurrency_config", "concurrency_config is not a mapping.", "Write `block_run_limit:` under it.")
        return base
    per_run = _limit(value, "block_run_limit", base.per_run, refuse)
    return Limits(per_run, _limit(value, "pipeline_block_limit", base.per_pipeline, refuse))


def pools(value: Any, refuse: Refuse) -> Mapping[str, int]:
    """The pools of a project: name to size."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        refuse("pools", "pools is not a mapping.", "Write one `name: size` a line.")
        return {}
    good = {str(name): size for name, size in value.items() if is_count(size, least=1)}
    for name in value.keys() - good.keys():
        refuse("pools", f"The size of pool {name} cannot be {value[name]!r}.", "Write a whole number from 1.")
    return good


def block_pools(value: Any, known: Mapping[str, int], refuse: Refuse) -> Mapping[str, int]:
    """The pools whose slots a block holds: a name, or names to how many; each must be a pool of the project."""
    if value is None:
        return {}
    given = {value: 1} if isinstance(value, str) else value
    if not isinstance(given, dict) or not all(is_count(count, least=1) for count in given.values()):
        refuse("pool", f"pool cannot be {value!r}.", "Write a pool's name, or `name: slots` under it.")
        return {}
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        named = ", ".join(known) or "none"
        refuse(
            "pool",
            f"There is no pool {unknown[0]}.",
            f"Write it under `pools` in the project's metadata.yaml; there: {named}.",
        )
        return {}
    return {str(name): count for name, count in given.items()}


def run_limits(base: RunLimits, value: Any, refuse: Refuse) -> RunLimits:
    """`base` with what a `concurrency_config` names of limits over runs laid over it."""
    if not isinstance(value, dict):
        return base  # refused by `limits`
    return RunLimits(
        project=_limit(value, "project_run_limit", base.project, refuse),
        runs=_limit(value, "pipeline_run_limit_all_triggers", base.runs, refuse),
        per_trigger=_limit(value, "pipeline_run_limit", base.per_trigger, refuse),
        key=_key(value, base.key, refuse),
        per_key=_limit(value, "runs_per_key", base.per_key, refuse) or 1,
        skip=_skips(value, base.skip, refuse),
    )


def _key(value: Mapping[str, Any], base: str | None, refuse: Refuse) -> str | None:
    given = value.get("concurrency_key")
    if given is None:
        return base
    if not isinstance(given, str):
        refuse("concurrency_key", f"concurrency_key cannot be {given!r}.", "Write a template: '{{ customer }}'.")
        return base
    try:
        check_syntax(given)
    except TemplateError as error:
        refuse("concurrency_key", f"concurrency_key: {error.message}", error.remedy)
        return base
    return given


def _skips(value: Mapping[str, Any], base: bool, refuse: Refuse) -> bool:
    given = value.get("on_pipeline_run_limit_reached")
    if given is None:
        return base
    if given in ("wait", "skip"):
        return bool(given == "skip")
    told = f"on_pipeline_run_limit_reached cannot be {given!r}."
    refuse("on_pipeline_run_limit_reached", told, "Write wait or skip.")
    return base


def _limit(value: Mapping[str, Any], key: str, base: int | None, refuse: Refuse) -> int | None:
    given = value.get(key)
    if given is None:
        return base
    if is_count(given, least=1):
        return int(given)
    refuse(key, f"concurrency_config: {key} cannot be {given!r}.", "Write a whole number from 1.")
    return base


def seconds(value: Any, key: str, refuse: Refuse) -> float | None:
    """A time limit; None for none."""
    if value is None:
        return None
    if is_number(value) and 0 < value < 1e9:
        return float(value)
    refuse(key, f"{key} cannot be {value!r}.", "Write a number of seconds above 0.")
    return None


def memory(value: Any, refuse: Refuse) -> int | None:
    """Bytes from a number or a text such as 512MB (1000s) or 1GiB (1024s); None for no limit."""
    if value is None:
        return None
    if is_count(value, least=1):
        return int(value)
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = 0 if found is None else int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]])
    if size >= 1:
        return size
    refuse("memory_limit", f"memory_limit cannot be {value!r}.", "Write bytes, or a size such as 512MB.")
    return None


def isolation(value: Any, base: Isolation, refuse: Refuse) -> Isolation:
    """How much a pipeline's blocks share."""
    if value is None:
        return base
    if value in set(Isolation):
        return Isolation(value)
    refuse("isolation", f"isolation cannot be {value!r}.", f"Write one of: {', '.join(Isolation)}.")
    return base


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e300


def is_count(value: Any, *, least: int) -> bool:
    """Whether it is a whole number from `least`, and of a size that a database column holds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53
