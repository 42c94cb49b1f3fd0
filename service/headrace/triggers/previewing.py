"""Shows the slots of a schedule to people and programs, those that changes of the clocks move or leave out marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from headrace.domain.errors import HeadraceError
from headrace.domain.expressions import Word
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import Trigger
from headrace.triggers.local_time import Mark, Slot
from headrace.triggers.slots import Slots
from headrace.triggers.timing import Timing


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


@dataclass(frozen=True, slots=True)
class SlotPreview:
    """The next slots of a trigger's schedule, and what they do not tell, in sentences."""

    timezone: str
    slots: tuple[SlotView, ...]
    notes: tuple[str, ...]


def schedule_of(trigger: Trigger) -> Schedule:
    """The schedule of a trigger. Raises NotASchedule."""
    if isinstance(trigger.when, Schedule):
        return trigger.when
    told = f"The trigger {trigger.name} of {trigger.pipeline} listens to {trigger.source}."
    raise NotASchedule(told, remedy="Only triggers of the type time have slots.")


def preview_slots(trigger: Trigger, count: int, after: datetime, enabled_at: datetime | None = None) -> SlotPreview:
    """The first `count` slots after a moment, those that the clocks' changes leave out among them. Raises NotASchedule.

    `enabled_at` is when the trigger was enabled, if that is known from elsewhere than its file.
    """
    schedule = schedule_of(trigger)
    since = schedule.enabled_at or enabled_at
    views = tuple(islice(_views(trigger, schedule, after, since), count))
    return SlotPreview(schedule.timezone, views, tuple(_notes(trigger, schedule, since, len(views), count)))


def _views(trigger: Trigger, schedule: Schedule, after: datetime, since: datetime | None) -> Iterator[SlotView]:
    slots = Slots(schedule, since or after)
    timing = Timing(slots, trigger.source)
    try:
        for slot in slots.told(after):
            yield _view(slot, slots, timing)
    except OverflowError:  # the calendar ends
        return


def _view(slot: Slot, slots: Slots, timing: Timing) -> SlotView:
    spread = slots.schedule.jitter and not slot.left_out
    starts_at = timing.starts_at(timing.between_neighbours(slot)) if spread else None
    local = slot.at.astimezone(slots.clock.zone).isoformat()
    return SlotView(slot.key, slot.at, local, slot.mark, slot.left_out, _remark(slot, local), starts_at)


def _remark(slot: Slot, local: str) -> str:
    shown, taken = f"{slot.wall:%H:%M:%S}", "; left out" if slot.left_out else ""
    match slot.mark:
        case Mark.PLAIN:
            return ""
        case Mark.GAP:
            return f"gap: {shown} is skipped{taken or f'; moved to {local[11:19]}'}"
        case Mark.FIRST | Mark.SECOND:
            return f"fold: {shown} for the {slot.mark} time{taken}"


def _notes(trigger: Trigger, schedule: Schedule, since: datetime | None, shown: int, count: int) -> Iterator[str]:
    if schedule.has(Word.ALWAYS_ON):
        yield "It is always on: a new run starts whenever none is under way."
    elif not shown:
        yield "No slot is to come."
    elif shown < count:
        yield f"{shown} slot{'' if shown == 1 else 's'}, then no more."
    if schedule.has(Word.ONCE) and schedule.start is None and since is None:
        yield "Its one slot is the moment at which it is enabled."
    if schedule.landing_time:
        yield "Runs are to be done by these times: they start earlier, by as long as the last ones took."
    if not trigger.active:
        yield "It is inactive: it makes no runs until it is enabled."
