"""The command that shows which slots of a schedule have no good run, and fills them."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.service import open_headrace
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted
from headrace.terminal.screen import Screen
from headrace.terminal.triggers_at_hand import named_trigger
from headrace.triggers.gaps import FilledGaps, GapSearch
from headrace.triggers.previewing import schedule_of


async def show_gaps(screen: Screen, name: str, since: datetime | None, *, fill: bool) -> ExitCode:
    """Print the gaps of a trigger's schedule, and make a backfill of them where that is asked for."""
    now = datetime.now(UTC)
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await named_trigger(headrace.project, headrace.database, headrace.project_id, name)
        trigger = found.trigger
        kept = headrace.project.retention.of(trigger.pipeline).runs
        search = GapSearch(headrace.database, headrace.project_id, trigger, schedule_of(trigger), kept)
        start = since or await search.usual_start(now)
        filled = await search.fill(start, now) if fill else FilledGaps(tuple(await search.find(start, now)), None)
        if filled.backfill is not None:
            await headrace.database.waker.wake()
    gaps, number = filled.gaps, filled.backfill
    if screen.is_json:
        screen.out.write_json({"since": start, "gaps": gaps, "backfill": number})
    else:
        for gap in gaps:
            screen.out.say(f"{gap.start.isoformat()}  {gap.reason}")
        screen.out.say(counted(len(gaps), "gap") if gaps else "There are no gaps.")
        if number is not None:
            screen.tell_next("Filled by", [(f"backfill {number}", screen.command("backfills", "show", str(number)))])
        elif gaps:
            screen.tell_next("Next", [("fill them", screen.command("schedule", "gaps", name, "--fill"))])
    return ExitCode.FAILED if gaps and number is None else ExitCode.COMPLETED
