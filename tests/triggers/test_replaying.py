"""Stored events are accepted again, and triggers decide anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.domain.events import Fate
from headrace.store.database import Database
from headrace.store.events import NO_MATCH, fates_of, newest_events
from headrace.triggers.replaying import Replayer, UnknownEvent

from tests.support.triggers import trigger_stack, webhook, write_triggers


async def test_a_dead_letter_is_replayed_after_its_trigger_was_mended(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", filter="event.wrong.name")])
    async with trigger_stack(database, root) as stack:
        dead = await stack.acceptor.accept(stack.event("webhook:hook", "k", {"a": 1}, headers={"H": "v"}, body=b"raw"))
        assert dead.fates[0].fate is Fate.DEAD
        write_triggers(root, "orders", [webhook("hook", filter="event.a == 1")])
        await stack.book.look()
        replayed = await Replayer(database, stack.acceptor).replay(dead.event)
        assert replayed.fates[0].fate is Fate.RUN
        again = await Replayer(database, stack.acceptor).replay(dead.event)
        assert again.event != replayed.event
        with pytest.raises(UnknownEvent, match="999999"):
            await Replayer(database, stack.acceptor).replay_all([dead.event, 999999])
    rows = await newest_events(database, [stack.project.id], limit=10)
    assert [row.replay_of for row in rows] == [dead.event, dead.event, None]
    body = await database.fetchval("SELECT body FROM headrace.event WHERE id = $1", replayed.event)
    assert body == b"raw"


async def test_events_are_listed_by_source_and_by_what_became_of_them(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", filter="event > 1")])
    async with trigger_stack(database, root) as stack:
        for source in ("webhook:hook", "webhook:none"):
            await stack.acceptor.accept_all([stack.event(source, str(n), n) for n in range(4)])

    async def keys(**options: object) -> list[str]:
        rows = await newest_events(database, [stack.project.id], limit=3, **options)  # type: ignore[arg-type]
        return [f"{row.source.removeprefix('webhook:')}{row.key}" for row in rows]

    assert await keys() == ["none3", "none2", "none1"]
    assert await keys(source="webhook:hook") == ["hook3", "hook2", "hook1"]
    assert await keys(fate="run") == ["hook3", "hook2"]
    assert await keys(fate="filtered") == ["hook1", "hook0"]
    assert await keys(fate=NO_MATCH) == ["none3", "none2", "none1"]
    page = await newest_events(database, [stack.project.id], limit=3)
    below = await newest_events(database, [stack.project.id], limit=3, before=page[-1].id)
    assert [row.key for row in below] == ["0", "3", "2"]
    fates = await fates_of(database, [row.id for row in below])
    assert [(fate.name, fate.fate) for fate in fates] == [("hook", "run"), ("hook", "run")]
