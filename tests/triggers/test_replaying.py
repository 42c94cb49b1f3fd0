"""Stored events are accepted again, and triggers decide anew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from headrace.domain.events import Accepted, Fate
from headrace.domain.moments import revived
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


async def test_a_replay_hands_on_what_the_event_did(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", variables={"a": "own", "b": "own"})])
    at = datetime(2026, 3, 1, 5, tzinfo=UTC)
    variables = {"a": 1, "from": at, "like_ours": {"$datetime": "2026-01-01"}}
    async with trigger_stack(database, root) as stack:
        event = stack.event("webhook:hook", "k", {"x": 1}, variables=variables, execution_date=at)
        first = await stack.acceptor.accept(event)
        replayer = Replayer(database, stack.acceptor)
        again = await replayer.replay(first.event)
        third = await replayer.replay(again.event)
    rows = [await run_of(database, answer) for answer in (first, again, third)]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["execution_date"] == at
    assert {name: rows[0]["variables"][name] for name in ("a", "b")} == {"a": 1, "b": "own"}
    assert revived(rows[0]["variables"]["from"]) == at


async def test_a_replay_of_a_start_starts_its_pipeline_with_its_variables(database: Database, root: Path) -> None:
    async with trigger_stack(database, root) as stack:
        first = await stack.acceptor.start(stack.project.id, "orders", {"n": 3})
        (again,) = await Replayer(database, stack.acceptor).replay_all([first.event])
    rows = [await run_of(database, answer) for answer in (first, again)]
    assert [(row["pipeline"], row["variables"]) for row in rows] == [("orders", {"n": 3})] * 2
    assert first.runs != again.runs


async def run_of(database: Database, accepted: Accepted) -> dict[str, Any]:
    """What the one run of an event was made with."""
    (run,) = accepted.runs
    row = await database.fetchrow("SELECT pipeline, variables, execution_date FROM headrace.run WHERE id = $1", run)
    return dict(row)


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
