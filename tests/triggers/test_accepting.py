"""Events are accepted once, with the runs they make, in one commit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from headrace.domain.events import Fate, NotAnEvent
from headrace.project.faults import UnknownPipeline
from headrace.store.database import Database
from headrace.triggers.accepting import UnacceptableEvent
from headrace.triggers.pinning import UnknownProject

from tests.support.triggers import make_stack, trigger_stack, webhook, write_triggers


async def test_an_event_makes_the_run_of_each_trigger_that_listens(database: Database, root: Path) -> None:
    write_triggers(
        root,
        "orders",
        [
            webhook(
                "first", "new", variables={"who": "{{ event.who }}", "n": "{{ event.n + 1 }}", "deep": ["{{ key }}"]}
            ),
            webhook("second", "new", priority=7, variables={"who": "x"}),
            webhook("other", "else"),
        ],
    )
    async with trigger_stack(database, root) as stack:
        event = stack.event("webhook:new", "k1", {"who": "ada", "n": 1}, variables={"given": True})
        accepted = await stack.acceptor.accept(event)
    assert accepted.is_new
    assert [fate.fate for fate in accepted.fates] == [Fate.RUN, Fate.RUN]
    assert sorted(stack.made) == sorted(accepted.runs)
    rows = await database.fetch("SELECT * FROM headrace.run ORDER BY priority")
    first, second = rows
    assert first["variables"] == {
        "who": "ada", "n": 2, "deep": ["k1"], "given": True, "event": {"who": "ada", "n": 1}, "trigger_name": "first",
    }  # fmt: skip
    assert second["priority"] == 7
    assert {row["trigger_id"] for row in rows} == {stack.trigger_id("first"), stack.trigger_id("second")}
    blocks = await database.fetch(
        "SELECT block, status FROM headrace.block_run WHERE run_id = $1 ORDER BY position", first["id"]
    )
    assert [(row["block"], row["status"]) for row in blocks] == [("load", "initial"), ("keep", "initial")]


async def test_one_delivery_a_hundred_times_makes_one_run_and_equal_answers(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook")])
    async with trigger_stack(database, root) as stack:
        answers = await asyncio.gather(
            *(stack.acceptor.accept(stack.event("webhook:hook", "same", {"n": n})) for n in range(100))
        )
    async with trigger_stack(database, root) as again:
        answers.append(await again.acceptor.accept(again.event("webhook:hook", "same", {"n": 5})))
    assert {(answer.event, answer.runs) for answer in answers} == {(answers[0].event, answers[0].runs)}
    assert sum(answer.is_new for answer in answers) == 1
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == 1


async def test_two_services_that_accept_the_same_events_make_each_run_once(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook")])
    async with trigger_stack(database, root) as one, trigger_stack(database, root) as two:
        answers = await asyncio.gather(
            *(stack.acceptor.accept(stack.event("webhook:hook", f"k{n}")) for n in range(60) for stack in (one, two))
        )
    assert len({answer.event for answer in answers}) == 60
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == 60
    assert await database.fetchval("SELECT count(DISTINCT event_id) FROM headrace.event_fate WHERE fate = 'run'") == 60


async def test_a_filter_leaves_events_out_and_says_so(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", filter="event.size > 10 and headers['x-kind'] == 'a'")])
    async with trigger_stack(database, root) as stack:
        small, large = await stack.acceptor.accept_all(
            [stack.event("webhook:hook", str(size), {"size": size}, headers={"X-Kind": "a"}) for size in (3, 30)]
        )
    assert [(fate.fate, fate.run) for fate in small.fates] == [(Fate.FILTERED, None)]
    assert "event.size > 10" in (small.fates[0].reason or "")
    assert large.fates[0].fate is Fate.RUN


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"filter": "event.missing > 1"}, "missing"),
        ({"variables": {"a": "{{ event.b.c }}"}}, "'b'"),
        ({"dedup_key": "{{ nobody }}"}, "nobody"),
    ],
)
async def test_what_a_trigger_gets_wrong_makes_a_dead_letter_and_no_run(
    database: Database, root: Path, keys: dict[str, object], told: str
) -> None:
    write_triggers(root, "orders", [webhook("bad", "x", **keys), webhook("good", "x")])
    async with trigger_stack(database, root) as stack:
        accepted = await stack.acceptor.accept(stack.event("webhook:x", "1", {}))
    fates = {fate.trigger: fate for fate in accepted.fates}
    bad = fates[stack.trigger_id("bad")]
    assert bad.fate is Fate.DEAD
    assert told in (bad.reason or "")
    assert fates[stack.trigger_id("good")].fate is Fate.RUN


async def test_a_pipeline_that_cannot_be_read_makes_a_dead_letter(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook")])
    async with trigger_stack(database, root) as stack:
        (root / "pipelines/orders/load.py").unlink()
        accepted = await stack.acceptor.accept(stack.event("webhook:hook", "1"))
    assert accepted.fates[0].fate is Fate.DEAD
    assert "load" in (accepted.fates[0].reason or "")


async def test_an_event_that_nobody_listens_to_is_kept_all_the_same(database: Database, root: Path) -> None:
    async with trigger_stack(database, root) as stack:
        accepted = await stack.acceptor.accept(stack.event("webhook:nobody", "1", {"a": 1}, body=b'{"a":1}'))
    assert accepted.fates == ()
    row = await database.fetchrow("SELECT payload, body FROM headrace.event WHERE id = $1", accepted.event)
    assert (row["payload"], row["body"]) == ({"a": 1}, b'{"a":1}')


async def test_events_of_one_dedup_key_make_one_run_whatever_the_number_of_services(
    database: Database, root: Path
) -> None:
    write_triggers(root, "orders", [webhook("hook", dedup_key="{{ event.order }}")])
    async with trigger_stack(database, root) as one, trigger_stack(database, root) as two:
        answers = await asyncio.gather(
            *(
                stack.acceptor.accept(stack.event("webhook:hook", f"{name}{n}", {"order": n % 3}))
                for n in range(30)
                for name, stack in (("a", one), ("b", two))
            )
        )
    fates = [answer.fates[0] for answer in answers]
    assert sum(fate.fate is Fate.RUN for fate in fates) == 3
    assert {fate.reason for fate in fates if fate.fate is Fate.SKIPPED} == {"an earlier event gave the same dedup_key"}
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == 3


async def test_at_its_limit_a_trigger_skips_and_names_the_run_in_the_way(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", max_active_runs=2, at_limit="skip")])
    async with trigger_stack(database, root) as one, trigger_stack(database, root) as two:
        answers = await asyncio.gather(
            *(
                stack.acceptor.accept(stack.event("webhook:hook", f"{n}{id(stack)}"))
                for n in range(10)
                for stack in (one, two)
            )
        )
    fates = [answer.fates[0] for answer in answers]
    made = [fate.run for fate in fates if fate.fate is Fate.RUN]
    assert len(made) == 2
    skipped = [fate for fate in fates if fate.fate is Fate.SKIPPED]
    assert len(skipped) == 18
    assert str(min(run for run in made if run)) in (skipped[0].reason or "")


async def test_events_of_many_triggers_with_limits_are_committed_together(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook(f"h{n}", max_active_runs=1, at_limit="skip") for n in range(40)])
    async with trigger_stack(database, root) as stack:
        events = [stack.event(f"webhook:h{n}", key) for key in ("a", "b") for n in range(40)]
        answers = await stack.acceptor.accept_all(events)
        async with database.transaction() as connection:
            later = [stack.event(f"webhook:h{n}", "c") for n in range(40)]
            answers += await stack.acceptor.accept_in(connection, later)
    assert [fate.fate for answer in answers for fate in answer.fates] == [Fate.RUN] * 40 + [Fate.SKIPPED] * 80
    commits = await database.fetchval("SELECT count(DISTINCT xmin::text) FROM headrace.event")
    assert commits == 3


async def test_at_its_limit_a_trigger_cancels_the_oldest_run(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", max_active_runs=1, at_limit="cancel_oldest")])
    async with trigger_stack(database, root) as stack:
        runs = [(await stack.acceptor.accept(stack.event("webhook:hook", str(n)))).runs[0] for n in range(3)]
    asked = await database.fetch("SELECT id FROM headrace.run WHERE cancel_requested_at IS NOT NULL ORDER BY id")
    assert [row["id"] for row in asked] == runs[:2]


async def test_an_event_that_cannot_be_stored_is_refused_and_those_beside_it_are_kept(
    database: Database, root: Path
) -> None:
    write_triggers(root, "orders", [webhook("hook")])
    async with trigger_stack(database, root) as stack:
        payloads = [{"v": 1}, {"v": float("nan")}, {"v": 3}]
        answers = await asyncio.gather(
            *(stack.acceptor.accept(stack.event("webhook:hook", str(n), value)) for n, value in enumerate(payloads)),
            return_exceptions=True,
        )
    assert isinstance(answers[1], UnacceptableEvent)
    assert "NaN" in str(answers[1])
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == 2


async def test_an_accept_inside_a_transaction_ends_with_it(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook")])
    stack = await make_stack(database, root)
    events = [stack.event("webhook:hook", "1")]

    async def fail_after_accepting() -> None:
        async with database.transaction() as connection:
            await stack.acceptor.accept_in(connection, events)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_accepting()
    assert await database.fetchval("SELECT count(*) FROM headrace.event") == 0
    async with database.transaction() as connection:
        answers = await stack.acceptor.accept_in(connection, events)
    assert stack.made == []
    stack.acceptor.announce(answers)
    assert stack.made == list(answers[0].runs)


async def test_a_manual_start_is_an_event_too_and_one_key_starts_once(database: Database, root: Path) -> None:
    async with trigger_stack(database, root) as stack:
        first = await stack.acceptor.start(stack.project.id, "orders", {"a": 1}, key="mine")
        again = await stack.acceptor.start(stack.project.id, "orders", {"a": 2}, key="mine")
        other = await stack.acceptor.start(stack.project.id, "orders", {})
        with pytest.raises(UnknownPipeline, match="nowhere"):
            await stack.acceptor.start(stack.project.id, "nowhere", {})
        with pytest.raises(UnknownProject):
            await stack.acceptor.start(stack.project.id + 1, "orders", {})
    assert first.runs == again.runs != other.runs
    assert await database.fetchval("SELECT variables ->> 'a' FROM headrace.run WHERE id = $1", first.runs[0]) == "1"


async def test_a_caller_that_leaves_takes_nobody_with_it(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook")])
    async with trigger_stack(database, root) as stack:
        calls = [asyncio.create_task(stack.acceptor.accept(stack.event("webhook:hook", str(n)))) for n in range(10)]
        await asyncio.sleep(0)
        calls[0].cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(not isinstance(answer, BaseException) for answer in answers[1:])


async def test_a_final_fate_never_changes(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", filter="false")])
    async with trigger_stack(database, root) as stack:
        await stack.acceptor.accept(stack.event("webhook:hook", "1"))
    with pytest.raises(asyncpg.CheckViolationError, match="can change no more"):
        await database.execute("UPDATE headrace.event_fate SET fate = 'dead'")


def test_an_event_without_a_key_is_refused() -> None:
    from headrace.domain.events import NewEvent

    with pytest.raises(NotAnEvent):
        NewEvent(1, "webhook:x", "push", "")


@pytest.mark.parametrize("payload", [[], [1], [[1, 2], [3]], [{"a": []}], "text", 5, 1.5, True, None, {}])
async def test_a_payload_of_any_kind_is_kept_as_it_is(database: Database, root: Path, payload: object) -> None:
    async with trigger_stack(database, root) as stack:
        others = [stack.event("s", str(n), {"n": n}) for n in range(3)]
        events = [*others[:2], stack.event("s", "odd", payload), others[2]]
        await stack.acceptor.accept_all(events)
        with pytest.raises(UnacceptableEvent):
            await stack.acceptor.accept(stack.event("s", "nan", [float("nan")]))
    rows = await database.fetch("SELECT key, payload FROM headrace.event ORDER BY key")
    assert {row["key"]: row["payload"] for row in rows} == {event.key: event.payload for event in events}
