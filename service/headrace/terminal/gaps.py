"""The command that shows which slots of a schedule have no good run, and fills them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from headrace.service import open_headrace
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted
from headrace.terminal.schedules import schedule_of, trigger_named
from headrace.terminal.screen import Screen
from headrace.triggers.gaps import GapSearch

LOOK_BACK = timedelta(days=30)


async def show_gaps(screen: Screen, name: str, since: datetime | None, *, fill: bool) -> ExitCode:
    """Print the gaps of a trigger's schedule, and make a backfill of them where that is asked for."""
    now = datetime.now(UTC)
    async with open_headrace(screen.project, drive=False) as headrace:
        trigger = trigger_named(headrace.project, name)
        search = GapSearch(headrace.database, headrace.project_id, trigger, schedule_of(trigger))
        found = await search.find(since or now - LOOK_BACK, now)
        number = await search.fill(found) if fill and found else None
        if number is not None:
            await headrace.database.waker.wake()
    if screen.is_json:
        screen.out.write_json({"gaps": [asdict(gap) for gap in found], "backfill": number})
    else:
        for gap in found:
            screen.out.say(f"{gap.interval.start.isoformat()}  {gap.reason}")
        screen.out.say(counted(len(found), "gap") if found else "There are no gaps.")
        if number is not None:
            screen.tell_next("Filled by", [(f"backfill {number}", screen.command("backfills", "show", str(number)))])
        elif found:
            screen.tell_next("Next", [("fill them", screen.command("schedule", "gaps", name, "--fill"))])
    return ExitCode.FAILED if found and number is None else ExitCode.COMPLETED
