"""Triggers as values: which events make runs of which pipeline, and under which conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from headrace.domain.backfills import Order, Reprocess
from headrace.domain.newer import REMEDY, NewerRecord
from headrace.domain.schedules import CatchUp, Fold, Gap, Schedule


class TriggerKind(StrEnum):
    """What a trigger listens to."""

    SCHEDULE = "schedule"
    """Slots of a schedule."""
    API = "api"
    """Calls of its own address with its token."""
    WEBHOOK = "webhook"
    """Requests that others send to a path."""
    SENSOR = "sensor"
    """Events that a sensor gives."""
    RUN = "run"
    """The end of another pipeline's runs."""


class TriggerStatus(StrEnum):
    """Whether a trigger makes runs."""

    ACTIVE = "active"
    """It does."""
    INACTIVE = "inactive"
    """It was switched off, or its file no longer names it."""
    BROKEN = "broken"
    """It cannot be read; the reason tells why."""


class AtLimit(StrEnum):
    """What becomes of an event while as many runs of its trigger are active as may be."""

    QUEUE = "queue"
    """Its run waits."""
    SKIP = "skip"
    """It makes no run."""
    CANCEL_OLDEST = "cancel_oldest"
    """The oldest active run is cancelled for it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Several events make one run together: once `delay` s passed without another one, or at a bound."""

    delay: float
    max_wait: float | None = None
    """Seconds from the first event at most; None for no bound."""
    max_count: int | None = None
    """Events at most; None for no bound."""


@dataclass(frozen=True, slots=True)
class BackfillWindow:
    """Instead of a run an event makes a backfill of the `last` intervals that are over by then."""

    last: int
    every: str = "day"
    """The length of an interval, as `read_every` takes it."""
    reprocess: Reprocess = Reprocess.FAILED
    order: Order = Order.FORWARDS
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Webhook:
    """Requests to `POST /hooks/<path>`; `settings` are the keys that say how they are verified and told apart."""

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SensorWatch:
    """Events of the sensor `name`; `settings` configure it."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AfterRun:
    """The end of runs of `pipeline` with one of `statuses`."""

    pipeline: str
    statuses: tuple[str, ...] = ("completed",)


@dataclass(frozen=True, slots=True)
class ApiCall:
    """Calls of the trigger's own address."""

    token: str | None = None
    """The token that its file gives it; None where Headrace makes one."""


When = Schedule | ApiCall | Webhook | SensorWatch | AfterRun


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of a pipeline."""

    pipeline: str
    name: str
    kind: TriggerKind
    when: When
    active: bool = False
    filter: str | None = None
    """An expression over `event`, `headers`, `key`, `kind` and `source`; false leaves the event out."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of its runs; texts are templates over the same names."""
    dedup_key: str | None = None
    """A template; events for which it gives the same text make one run."""
    max_active_runs: int | None = None
    at_limit: AtLimit = AtLimit.QUEUE
    batch: Batch | None = None
    backfill: BackfillWindow | None = None
    priority: int = 0
    allow_blocks_to_fail: bool | None = None
    """None for the pipeline's own."""
    timeout: float | None = None
    """Seconds that its runs may take; None for the pipeline's own."""
    sla: float | None = None
    description: str = ""

    @property
    def source(self) -> str:
        """The source of the events that it listens to."""
        match self.when:
            case Webhook(path=path):
                return f"webhook:{path}"
            case SensorWatch(name=name):
                return f"sensor:{name}"
            case AfterRun(pipeline=pipeline):
                return f"run:{pipeline}"
            case Schedule():
                return f"schedule:{self.pipeline}/{self.name}"
            case ApiCall():
                return f"api:{self.pipeline}/{self.name}"


_WHENS: Mapping[TriggerKind, type] = {
    TriggerKind.SCHEDULE: Schedule,
    TriggerKind.API: ApiCall,
    TriggerKind.WEBHOOK: Webhook,
    TriggerKind.SENSOR: SensorWatch,
    TriggerKind.RUN: AfterRun,
}


def trigger_to_json(trigger: Trigger) -> dict[str, Any]:
    """The trigger as JSON values; what is as by default is left out."""
    return _to_json(trigger)


def trigger_from_json(value: Mapping[str, Any]) -> Trigger:
    """The trigger that `trigger_to_json` wrote. Raises NewerRecord for what a newer version's may have written."""
    try:
        return _trigger(value)
    except (KeyError, TypeError, ValueError) as error:
        raise NewerRecord(
            f"its definition is not understood ({type(error).__name__}: {error}).", remedy=REMEDY
        ) from error


def _trigger(value: Mapping[str, Any]) -> Trigger:
    kind = TriggerKind(value["kind"])
    given = {**value, "kind": kind, "when": _from_json(_WHENS[kind], value["when"])}
    if given.get("batch") is not None:
        given["batch"] = Batch(**given["batch"])
    if given.get("backfill") is not None:
        given["backfill"] = _from_json(BackfillWindow, given["backfill"])
    if "at_limit" in given:
        given["at_limit"] = AtLimit(given["at_limit"])
    return Trigger(**given)


def _to_json(value: Any) -> dict[str, Any]:
    given = {item.name: getattr(value, item.name) for item in fields(value) if not _is_default(value, item)}
    return {name: _plain(item) for name, item in given.items()}


def _is_default(value: Any, item: Any) -> bool:
    default = item.default if item.default_factory is MISSING else item.default_factory()
    return bool(default is not MISSING and getattr(value, item.name) == default)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _to_json(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _from_json(kind: type, value: Mapping[str, Any]) -> Any:
    readers = _READERS.get(kind, {})
    made = {name: readers[name](item) if name in readers else item for name, item in value.items()}
    return kind(**{name: tuple(item) if isinstance(item, list) else item for name, item in made.items()})


_READERS: Mapping[type, Mapping[str, Callable[[Any], Any]]] = {
    BackfillWindow: {"reprocess": Reprocess, "order": Order},
    Schedule: {
        "gap": Gap,
        "fold": Fold,
        "catch_up": CatchUp,
        "start": datetime.fromisoformat,
        "end": datetime.fromisoformat,
        "enabled_at": datetime.fromisoformat,
    },
}
"""Fields that JSON has as text, to what makes values of them again."""
