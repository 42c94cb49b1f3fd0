"""The commands about schedules: preview."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text

from headrace.terminal.errors import ExitCode
from headrace.terminal.screen import Screen
from headrace.terminal.triggers_at_hand import trigger_at_hand
from headrace.triggers.previewing import SlotView, preview_slots, schedule_of


async def preview_schedule(screen: Screen, name: str, count: int, after: datetime | None) -> ExitCode:
    """Print the next slots of a trigger's schedule, local and in UTC; gaps and folds of the clocks are marked."""
    found = await trigger_at_hand(screen.project, name)
    preview = preview_slots(found.trigger, count, after or datetime.now(UTC), found.enabled_at)
    if screen.is_json:
        screen.out.write_json(preview.slots)
        return ExitCode.COMPLETED
    if preview.slots:
        _print(screen, preview.slots, has_jitter=bool(schedule_of(found.trigger).jitter))
    for note in preview.notes:
        screen.err.say(note, "dim")
    return ExitCode.COMPLETED


def _print(screen: Screen, views: Sequence[SlotView], *, has_jitter: bool) -> None:
    """A line a slot, never cut: a narrow terminal wraps it."""
    head = f"{'local':<32}{'UTC':<21}" + ("starts (UTC)" if has_jitter else "")
    screen.out.say(head.rstrip(), "dim")
    for view in views:
        local = datetime.fromisoformat(view.local)
        told = f"{local:%a %Y-%m-%d %H:%M:%S} {view.local[19:]:<6}  {view.at:%Y-%m-%d %H:%M:%S}  "
        if has_jitter:
            told += f"{view.starts_at:%Y-%m-%d %H:%M:%S}  " if view.starts_at else " " * 21
        line = Text(told, "dim" if view.left_out else "").append(view.remark, "dim" if view.left_out else "yellow")
        line.rstrip()
        screen.out.print(line, soft_wrap=True)
