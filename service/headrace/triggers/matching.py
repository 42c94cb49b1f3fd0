"""Decides what a trigger makes of an event: its filter, its dedup key, the variables of its run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from headrace.blocks.templating import TemplateError, evaluate, render
from headrace.domain.events import Fate, NewEvent
from headrace.domain.moments import revived, shielded
from headrace.domain.triggers import AfterRun, Trigger
from headrace.project.plain import UnusableVariable, kept_variables

_ONE_EXPRESSION = re.compile(r"\s*\{\{((?:(?!\{\{|\}\}|\{%).)*)\}\}\s*", re.DOTALL)


class Happening(Protocol):
    """An event, accepted or not yet: what a trigger's expressions can name of it."""

    @property
    def payload(self) -> Any: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def occurred_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Match:
    """What one trigger makes of one event. `variables` are those of the run, for the fates run and waiting."""

    fate: Fate
    reason: str | None = None
    dedup_key: str | None = None
    variables: Mapping[str, Any] | None = None


def match_event(trigger: Trigger, event: NewEvent, environ: Mapping[str, str]) -> Match:
    """What `trigger` makes of `event`; what its own expressions get wrong makes the event a dead letter."""
    if isinstance(trigger.when, AfterRun) and event.kind not in trigger.when.statuses:
        return Match(Fate.FILTERED, f"the run ended as {event.kind}, not as {' or '.join(trigger.when.statuses)}")
    names = event_names(event)
    try:
        if trigger.filter is not None and not evaluate(trigger.filter, environ=environ, names=names):
            return Match(Fate.FILTERED, f"the filter does not hold: {trigger.filter}")
        dedup_key = None if trigger.dedup_key is None else _key(trigger.dedup_key, environ, names)
        if trigger.batch is not None or trigger.backfill is not None:
            return Match(Fate.WAITING, dedup_key=dedup_key)
        return Match(Fate.RUN, None, dedup_key, run_variables(trigger, environ, names, event.payload, event.variables))
    except (TemplateError, UnusableVariable) as error:
        return Match(Fate.DEAD, f"trigger {trigger.pipeline}/{trigger.name}: {error}")


def run_variables(
    trigger: Trigger, environ: Mapping[str, str], names: Mapping[str, Any], payload: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """A run's variables: the trigger's, rendered over `names`, then the event's.

    Raises TemplateError, UnusableVariable.
    """
    made = kept_variables({**mapped_variables(trigger, environ, names), **given})
    return {**made, "event": {} if payload is None else shielded(payload), "trigger_name": trigger.name}


def mapped_variables(trigger: Trigger, environ: Mapping[str, str], names: Mapping[str, Any]) -> dict[str, Any]:
    """A trigger's own variables, its templates rendered: this once. Raises TemplateError."""
    return {name: _rendered(value, environ, names) for name, value in revived(trigger.variables).items()}


def event_names(event: Happening) -> dict[str, Any]:
    """What a trigger's expressions can name of an event; headers in lower case."""
    return {
        "event": event.payload,
        "headers": {name.lower(): value for name, value in event.headers.items()},
        "key": event.key,
        "kind": event.kind,
        "source": event.source,
        "occurred_at": event.occurred_at,
    }


def _key(template: str, environ: Mapping[str, str], names: Mapping[str, Any]) -> str | None:
    """The text of a dedup key; an empty one means that the event has none."""
    return render(template, environ=environ, names=names).strip() or None


def _rendered(value: Any, environ: Mapping[str, str], names: Mapping[str, Any]) -> Any:
    """A variable's value; a text that is one expression gives that expression's value, of its own type."""
    if isinstance(value, str):
        whole = _ONE_EXPRESSION.fullmatch(value)
        if whole is not None:
            return evaluate(whole[1], environ=environ, names=names)
        return render(value, environ=environ, names=names)
    if isinstance(value, Mapping):
        return {name: _rendered(item, environ, names) for name, item in value.items()}
    return [_rendered(item, environ, names) for item in value] if isinstance(value, list) else value
