"""The commands about schedules: preview."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from rich.text import Text

from headrace.domain.errors import HeadraceError
from headrace.domain.expressions import Word
from headrace.domain.schedules import Schedule
from headrace.domain.suggesting import suggestion
from headrace.domain.triggers import Trigger
from headrace.project.faults import ProjectFault
from headrace.project.reading import Project, read_project
from headrace.project.triggers import BrokenTrigger, read_triggers
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted
from headrace.terminal.screen import Screen
from headrace.triggers.local_time import Mark, Slot
from headrace.triggers.slots import Slots
from headrace.triggers.timing import Timing


class UnknownTrigger(HeadraceError):
    """No trigger of the project's files, or more than one, has this name."""

    code = "unknown-trigger"


class NotASchedule(HeadraceError):
    """A trigger listens to something else than a schedule."""

    code = "not-a-schedule"


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot as people and programs are shown it. `starts_at` is when its run starts, where that is not the slot."""

    key: str
    at: datetime
    local: str
    mark: str
    left_out: bool
    remark: str
    starts_at: datetime | None


def preview_schedule(screen: Screen, name: str, count: int, after: datetime | None) -> ExitCode:
    """Print the next slots of a trigger's schedule, local and in UTC; gaps and folds of the clocks are marked."""
    trigger = trigger_named(read_project(screen.project.resolve()), name)
    schedule = schedule_of(trigger)
    since = datetime.now(UTC) if after is None else after
    views = list(islice(slot_views(trigger, schedule, since), count))
    if screen.is_json:
        screen.out.write_json(views)
        return ExitCode.COMPLETED
    if views:
        _print(screen, views, schedule)
    for line in _notes(trigger, schedule, len(views), count):
        screen.err.say(line, "dim")
    return ExitCode.COMPLETED


def trigger_named(project: Project, name: str) -> Trigger:
    """The trigger that `name`, or `pipeline/name`, names. Raises UnknownTrigger, and ProjectFault for a broken one."""
    found = {f"{each.pipeline}/{each.name}": each for each in _triggers_of(project)}
    fitting = [found[name]] if name in found else [each for each in found.values() if each.name == name]
    if len(fitting) > 1:
        named = ", ".join(f"{each.pipeline}/{each.name}" for each in fitting)
        raise UnknownTrigger(f"Several triggers have the name {name}.", remedy=f"Write one of: {named}.")
    if not fitting:
        known = found if "/" in name else [each.name for each in found.values()]
        raise UnknownTrigger(f"There is no trigger {name}.", remedy=suggestion(name, known, "The project's triggers"))
    if isinstance(fitting[0], BrokenTrigger):
        raise ProjectFault(f"The trigger {name}", fitting[0].faults)
    return fitting[0]


def schedule_of(trigger: Trigger) -> Schedule:
    """The schedule of a trigger. Raises NotASchedule."""
    if isinstance(trigger.when, Schedule):
        return trigger.when
    told = f"The trigger {trigger.name} of {trigger.pipeline} listens to {trigger.source}."
    raise NotASchedule(told, remedy="Only triggers of the type time have slots.")


def _triggers_of(project: Project) -> Iterator[Trigger | BrokenTrigger]:
    for uuid in project.pipeline_uuids():
        reading = read_triggers(project.root, uuid, project.environ)
        yield from reading.triggers
        yield from reading.broken


def slot_views(trigger: Trigger, schedule: Schedule, since: datetime) -> Iterator[SlotView]:
    """The slots after a moment, and those that the clocks' changes leave out."""
    slots = Slots(schedule, schedule.enabled_at or since)
    timing = Timing(slots, trigger.source)
    for slot in slots.told(since):
        starts_at = timing.starts_at(timing.between_neighbours(slot)) if schedule.jitter and not slot.left_out else None
        local = slot.at.astimezone(slots.clock.zone).isoformat()
        yield SlotView(slot.key, slot.at, local, slot.mark, slot.left_out, _remark(slot, local), starts_at)


def _remark(slot: Slot, local: str) -> str:
    shown, taken = f"{slot.wall:%H:%M:%S}", "; left out" if slot.left_out else ""
    match slot.mark:
        case Mark.PLAIN:
            return ""
        case Mark.GAP:
            return f"gap: {shown} is skipped{taken or f'; moved to {local[11:19]}'}"
        case Mark.FIRST | Mark.SECOND:
            return f"fold: {shown} for the {slot.mark} time{taken}"


def _print(screen: Screen, views: list[SlotView], schedule: Schedule) -> None:
    """A line a slot, never cut: a narrow terminal wraps it."""
    head = f"{'local':<32}{'UTC':<21}" + ("starts (UTC)" if schedule.jitter else "")
    screen.out.say(head.rstrip(), "dim")
    for view in views:
        local = datetime.fromisoformat(view.local)
        told = f"{local:%a %Y-%m-%d %H:%M:%S} {view.local[19:]:<6}  {view.at:%Y-%m-%d %H:%M:%S}  "
        if schedule.jitter:
            told += f"{view.starts_at:%Y-%m-%d %H:%M:%S}  " if view.starts_at else " " * 21
        line = Text(told, "dim" if view.left_out else "").append(view.remark, "dim" if view.left_out else "yellow")
        line.rstrip()
        screen.out.print(line, soft_wrap=True)


def _notes(trigger: Trigger, schedule: Schedule, shown: int, count: int) -> Iterator[str]:
    if schedule.has(Word.ALWAYS_ON):
        yield "It is always on: a new run starts whenever none is under way."
    elif not shown:
        yield "No slot is to come."
    elif shown < count:
        yield f"{counted(shown, 'slot')}, then no more."
    if schedule.has(Word.ONCE) and schedule.start is None and schedule.enabled_at is None:
        yield "Its one slot is the moment at which it is enabled."
    if schedule.landing_time:
        yield "Runs are to be done by these times: they start earlier, by as long as the last ones took."
    if not trigger.active:
        yield "It is inactive: `status: active` in its file enables it."
