"""Reads the triggers of a pipeline from its triggers.yaml: Mage's keys and ours. One bad trigger hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.blocks.safe_yaml import YamlFault, read_yaml
from headrace.domain.backfills import Order, Reprocess
from headrace.domain.intervals import BadInterval, read_every
from headrace.domain.statuses import RUN_TERMINAL, RunStatus
from headrace.domain.triggers import (
    AfterRun,
    ApiCall,
    AtLimit,
    BackfillWindow,
    Batch,
    SensorWatch,
    Trigger,
    TriggerKind,
    When,
)
from headrace.project.blocks import FaultList
from headrace.project.faults import Fault, Severity, errors_of
from headrace.project.files import UnreadableFile, inside, read_text
from headrace.project.plain import NotPlain, plain
from headrace.project.policies import Refuse, is_count, is_number, seconds
from headrace.project.schedules import schedule_of
from headrace.project.sensors import sensor_watch_of
from headrace.project.trigger_keys import warn_of_unknown_keys
from headrace.project.trigger_templates import check_trigger_templates
from headrace.project.webhooks import webhook_of

KINDS: Mapping[str, TriggerKind] = {
    "time": TriggerKind.SCHEDULE,
    "schedule": TriggerKind.SCHEDULE,
    "api": TriggerKind.API,
    "webhook": TriggerKind.WEBHOOK,
    "sensor": TriggerKind.SENSOR,
    "run": TriggerKind.RUN,
}
"""A trigger's `schedule_type` (or `type`) to its kind; `time` and `api` are Mage's words."""


WHOLE_FILE = "triggers.yaml"
"""The name under which a file is shown that cannot be read."""


@dataclass(frozen=True, slots=True)
class BrokenTrigger:
    """A trigger that cannot be read; `name` is its own, or its place in the file."""

    pipeline: str
    name: str
    faults: tuple[Fault, ...]

    @property
    def reason(self) -> str:
        """All that is wrong with it, in one text."""
        return " ".join(str(fault) for fault in self.faults)


@dataclass(frozen=True, slots=True)
class TriggerReading:
    """What a pipeline's triggers.yaml holds. `faults` are all of the file, those of broken triggers among them.

    `unread` is why nothing can be told of the file: then it does not say that there are no triggers.
    """

    pipeline: str
    file: str
    triggers: tuple[Trigger, ...] = ()
    broken: tuple[BrokenTrigger, ...] = ()
    faults: tuple[Fault, ...] = ()
    unread: Fault | None = None
    is_empty: bool = False
    """Whether there is a file, with no character in it: it may be about to be written."""


def read_triggers(root: Path, pipeline: str, environ: Mapping[str, str]) -> TriggerReading:
    """The triggers in `pipelines/<pipeline>/triggers.yaml`; none where there is no such file. Never raises."""
    file = f"pipelines/{pipeline}/triggers.yaml"
    if not (root / file).is_file():
        return TriggerReading(pipeline, file)
    try:
        text = read_text(root, inside(root, file))
    except UnreadableFile as error:
        return _unreadable(pipeline, file, Fault(file, None, "", error.message, error.remedy))
    return triggers_in(text, pipeline, file, environ, root)


def triggers_in(
    text: str, pipeline: str, file: str, environ: Mapping[str, str], root: Path | None = None
) -> TriggerReading:
    """The triggers in the text of a triggers.yaml; `file` is its name for the faults. Never raises.

    With the project's folder, `root`, it is also told what they follow that is not there.
    """
    try:
        document = read_yaml(text)
    except YamlFault as error:
        return _unreadable(pipeline, file, Fault(file, error.line, "", error.message, error.remedy))
    faults = FaultList(file, document)
    listed = _listed(document.value)
    if listed is None:
        faults.add(("triggers",), "triggers is not a list.", "Begin each trigger with `- `.")
        return _unreadable(pipeline, file, faults.found[0])
    triggers: dict[str, Trigger] = {}
    broken: list[BrokenTrigger] = []
    for index, values in enumerate(listed):
        entry = _Entry(pipeline, index, values, FaultList(file, document), environ, root)
        trigger = entry.trigger(triggers)
        faults.found.extend(entry.faults.found)
        if trigger is None:
            broken.append(BrokenTrigger(pipeline, entry.name, errors_of(entry.faults.found)))
        else:
            triggers[trigger.name] = trigger
    found = tuple(faults.found)
    return TriggerReading(pipeline, file, tuple(triggers.values()), tuple(broken), found, is_empty=not text.strip())


def _unreadable(pipeline: str, file: str, fault: Fault) -> TriggerReading:
    return TriggerReading(pipeline, file, (), (BrokenTrigger(pipeline, WHOLE_FILE, (fault,)),), (fault,), fault)


def _listed(value: Any) -> list[Any] | None:
    """The triggers of a document; None where it has something else in their place."""
    listed = value.get("triggers") if isinstance(value, dict) else value
    if listed is None:
        return []
    return listed if isinstance(listed, list) else None


@dataclass
class _Entry:
    """One trigger while it is read; lives for one call of `read_triggers`."""

    pipeline: str
    index: int
    values: Any
    faults: FaultList
    environ: Mapping[str, str]
    root: Path | None

    @property
    def name(self) -> str:
        given = self.values.get("name") if isinstance(self.values, dict) else None
        return str(given) if given else f"number {self.index + 1}"

    def trigger(self, earlier: Mapping[str, Trigger]) -> Trigger | None:
        """The trigger, or None where an error keeps it from working."""
        if not isinstance(self.values, dict):
            self.refuse("", f"Item {self.index + 1} is not a trigger.", "Write `name:` and `schedule_type:`.")
            return None
        self._check_name(earlier)
        warn_of_unknown_keys(self.values, self._warn)
        kind = self._kind()
        when = None if kind is None else self._when(kind)
        if kind is None or when is None:
            return None
        self._warn_of_missing(when)
        trigger = self._built(kind, when)
        check_trigger_templates(trigger, self.refuse)
        return None if errors_of(self.faults.found) else trigger

    def refuse(self, key: str, message: str, remedy: str) -> None:
        """Record a fault at a key; dots lead to keys below it."""
        self.faults.add(self._place(*key.split(".")), f"Trigger {self.name}: {message}", remedy)

    def _warn_of_missing(self, when: When) -> None:
        """Tell where the pipeline or the sensor is not there that the trigger follows; it may come later."""
        missing: tuple[str, str] | None = None
        match when:
            case AfterRun(pipeline):
                missing = "run", f"pipelines/{pipeline}/metadata.yaml"
            case SensorWatch(name, settings):
                use = str(settings.get("use", f"sensors/{name}.py"))
                missing = ("sensor", use) if use.endswith(".py") else None
        if missing is not None and self.root is not None and not (self.root / missing[1]).is_file():
            key, place = missing
            self._warn(key, f"there is no {place}: it makes no run until there is.", "Check the name.")

    def _warn(self, key: str, message: str, remedy: str) -> None:
        """Tell of something at a key that keeps the trigger from nothing."""
        self.faults.warn(("triggers", self.index, *key.split(".")), f"Trigger {self.name}: {message}", remedy)

    def _place(self, key: str, *below: str) -> tuple[str | int, ...]:
        place = ("triggers", self.index)
        if not key:
            return place
        return (*place, key, *below) if key in self.values or key not in self._settings else (*place, "settings", key)

    def _check_name(self, earlier: Mapping[str, Trigger]) -> None:
        if not self.values.get("name"):
            self.refuse("name", "it has no name.", "Give it a `name:`.")
        elif self.name in earlier:
            self.refuse("name", "another trigger of this pipeline has this name.", "Rename one of them.")
        named = self.values.get("pipeline_uuid")
        if named is not None and str(named) != self.pipeline:
            told = f"Trigger {self.name}: pipeline_uuid is {named}, its folder {self.pipeline}: the folder counts."
            self.faults.add(("triggers", self.index, "pipeline_uuid"), told, "Remove it.", Severity.WARNING)

    def _kind(self) -> TriggerKind | None:
        given = self.values.get("schedule_type", self.values.get("type"))
        if given is None and self.values.get("schedule_interval") is not None:
            return TriggerKind.SCHEDULE
        if given in KINDS:
            return KINDS[given]
        told = "it has no schedule_type." if given is None else f"schedule_type cannot be {given!r}."
        self.refuse("schedule_type", told, f"Write one of: {', '.join(KINDS)}.")
        return None

    def _when(self, kind: TriggerKind) -> When | None:
        match kind:
            case TriggerKind.SCHEDULE:
                return schedule_of({**self._settings, **self.values}, self.refuse)
            case TriggerKind.WEBHOOK:
                return webhook_of(self.values.get("webhook"), self.environ, self.refuse)
            case TriggerKind.SENSOR:
                return sensor_watch_of(self.values.get("sensor"), f"{self.pipeline}/{self.name}", self.refuse)
            case TriggerKind.RUN:
                return _after_run_of(self.values.get("run"), self.refuse)
            case TriggerKind.API:
                token = self.values.get("token")
                return ApiCall(None if token is None else str(token))

    @property
    def _settings(self) -> Mapping[str, Any]:
        given = self.values.get("settings")
        return given if isinstance(given, dict) else {}

    def _built(self, kind: TriggerKind, when: When) -> Trigger:
        limit, at_limit = self._limit()
        if self.values.get("backfill") is not None and {"batch", "debounce"} & self.values.keys():
            self.refuse("backfill", "it has both a batch and a backfill.", "Remove one of them.")
        fails = self._one("allow_blocks_to_fail")
        return Trigger(
            pipeline=self.pipeline,
            name=self.name,
            kind=kind,
            when=when,
            active=self._is_active(),
            filter=self._text("filter"),
            variables=self._variables(),
            dedup_key=self._text("dedup_key"),
            max_active_runs=limit,
            at_limit=at_limit,
            batch=batch_of(self.values.get("batch", self.values.get("debounce")), self.refuse),
            backfill=backfill_window_of(self.values.get("backfill"), self.refuse),
            priority=self._priority(),
            allow_blocks_to_fail=fails if isinstance(fails, bool) else None,
            timeout=seconds(self._one("timeout"), "timeout", self.refuse),
            sla=seconds(self.values.get("sla") or None, "sla", self.refuse),
            description=str(self.values.get("description") or ""),
        )

    def _one(self, key: str) -> Any:
        """A key that may stand in the trigger itself or, as Mage has it, under `settings`."""
        return self.values.get(key, self._settings.get(key))

    def _is_active(self) -> bool:
        given = self.values.get("status", "inactive")
        if given in ("active", "inactive"):
            return bool(given == "active") and self._is_for_here()
        self.refuse("status", f"status cannot be {given!r}.", "Write active or inactive.")
        return False

    def _is_for_here(self) -> bool:
        """Whether its `envs`, where it names any, have the one in which the project is served: ENV, dev if not set."""
        given = self.values.get("envs")
        if given is None or given == []:
            return True
        if not isinstance(given, list) or not all(isinstance(env, str) for env in given):
            self.refuse("envs", f"envs cannot be {given!r}.", "Write a list of names, such as [staging, prod].")
            return False
        return self.environ.get("ENV", "dev") in given

    def _text(self, key: str) -> str | None:
        given = self.values.get(key)
        if given is None or isinstance(given, str):
            return given or None
        if isinstance(given, bool | int | float):
            return str(given)
        self.refuse(key, f"{key} is not a text.", "Write it in quotes.")
        return None

    def _variables(self) -> Mapping[str, Any]:
        given = self.values.get("variables")
        if given is None:
            return {}
        if not isinstance(given, dict):
            self.refuse("variables", "variables is not a mapping.", "Write one `key: value` a line.")
            return {}
        try:
            kept: dict[str, Any] = plain(given)
        except NotPlain as error:
            self.refuse("variables", f"variables: {error}.", "Write it as text.")
            return {}
        return kept

    def _limit(self) -> tuple[int | None, AtLimit]:
        skips = self._one("skip_if_previous_running") is True
        limit = self._one("max_active_runs")
        limit = self._one("pipeline_run_limit") if limit is None else limit
        at_limit = self._one("at_limit") or (AtLimit.SKIP if skips else AtLimit.QUEUE)
        if limit is None:
            limit = 1 if skips else None
        elif not is_count(limit, least=1):
            self.refuse("max_active_runs", f"max_active_runs cannot be {limit!r}.", "Write a whole number from 1.")
            limit = None
        if at_limit not in set(AtLimit):
            self.refuse("at_limit", f"at_limit cannot be {at_limit!r}.", f"Write one of: {', '.join(AtLimit)}.")
            at_limit = AtLimit.QUEUE
        return limit, AtLimit(at_limit)

    def _priority(self) -> int:
        given = self._one("priority")
        if given is None:
            return 0
        if isinstance(given, int) and not isinstance(given, bool) and -1000 <= given <= 1000:
            return given
        self.refuse("priority", f"priority cannot be {given!r}.", "Write a whole number from -1000 to 1000.")
        return 0


def batch_of(value: Any, refuse: Refuse) -> Batch | None:
    """The batch that a trigger gathers; a bare number is the delay in seconds."""
    if value is None:
        return None
    given = {"delay": value} if is_number(value) else value
    if not isinstance(given, dict) or not is_number(given.get("delay", 0)) or given.get("delay", 0) < 0:
        refuse("batch", f"batch cannot be {value!r}.", "Write `delay:` seconds, `max_wait:` and `max_count:` under it.")
        return None
    count = given.get("max_count")
    if count is not None and not is_count(count, least=1):
        refuse("batch", f"max_count cannot be {count!r}.", "Write a whole number from 1.")
        count = None
    return Batch(float(given.get("delay", 0)), seconds(given.get("max_wait"), "max_wait", refuse), count)


def backfill_window_of(value: Any, refuse: Refuse) -> BackfillWindow | None:
    """The backfill that each event makes instead of a run."""
    if value is None:
        return None
    if not isinstance(value, dict) or not is_count(value.get("last"), least=1) or value["last"] > 10_000:
        refuse("backfill", "backfill does not say how many intervals.", "Write `last: 7` and `interval: day` under it.")
        return None
    every, concurrency = str(value.get("interval", "day")), value.get("concurrency", 1)
    words = value.get("reprocess", Reprocess.FAILED), value.get("order", Order.FORWARDS)
    try:
        read_every(every)
    except BadInterval as error:
        refuse("backfill", error.message, error.remedy)
        return None
    if words[0] not in set(Reprocess) or words[1] not in set(Order) or not is_count(concurrency, least=1):
        told = f"reprocess, order or concurrency cannot be {words[0]!r}, {words[1]!r}, {concurrency!r}."
        refuse("backfill", told, f"Reprocess: {', '.join(Reprocess)}; order: {', '.join(Order)}.")
        return None
    return BackfillWindow(value["last"], every, Reprocess(words[0]), Order(words[1]), concurrency)


def _after_run_of(value: Any, refuse: Refuse) -> AfterRun | None:
    given = {"pipeline": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not given.get("pipeline"):
        refuse("run", "it names no pipeline whose runs it follows.", "Write `run:` and under it `pipeline:`.")
        return None
    statuses = given.get("status", given.get("statuses", RunStatus.COMPLETED))
    wanted = tuple(map(str, statuses)) if isinstance(statuses, list) else (str(statuses),)
    unknown = [status for status in wanted if status not in RUN_TERMINAL]
    if unknown:
        refuse("run", f"no run ends as {unknown[0]!r}.", f"Write of: {', '.join(sorted(RUN_TERMINAL))}.")
        return None
    return AfterRun(str(given["pipeline"]), wanted)
