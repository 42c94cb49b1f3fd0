"""Triggers are followed in files and in the database while a service runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.domain.newer import NewerRecord
from headrace.domain.triggers import ApiCall, Trigger, TriggerKind
from headrace.store.database import Database
from headrace.store.triggers import keep_api_trigger
from headrace.triggers.book import EMPTY_SECONDS, TriggerBook, row_of
from headrace.triggers.ended_runs import EndedRuns

from tests.support.projects import write_pipeline
from tests.support.triggers import make_stack, trigger_stack, webhook, write_triggers


def names(book: TriggerBook) -> set[str]:
    return {known.trigger.name for known in book.active()}


async def test_a_change_of_a_file_counts_at_the_next_look(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("a"), webhook("b", status="inactive")])
    stack = await make_stack(database, root)
    assert names(stack.book) == {"a"}
    first = stack.trigger_id("a")
    write_triggers(root, "orders", [webhook("a", "other"), webhook("b")])
    await stack.book.look()
    assert names(stack.book) == {"a", "b"}
    assert stack.trigger_id("a") == first
    assert stack.book.listening_to(stack.project.id, "webhook:a") == ()
    assert [known.trigger.name for known in stack.book.listening_to(stack.project.id, "webhook:other")] == ["a"]


async def test_a_trigger_that_its_file_no_longer_names_is_switched_off_and_kept(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("a"), webhook("b")])
    stack = await make_stack(database, root)
    write_triggers(root, "orders", [webhook("b")])
    await stack.book.look()
    assert names(stack.book) == {"b"}
    rows = {row.name: row for row in stack.book.rows(stack.project.id)}
    assert (rows["a"].status, rows["a"].reason) == ("inactive", "its file no longer names it")
    (root / "pipelines/orders/triggers.yaml").unlink()
    await stack.book.look()
    assert names(stack.book) == {"b"}, "a file may be gone for a moment while it is replaced"
    await stack.book.look()
    assert names(stack.book) == set()


async def test_a_broken_trigger_is_shown_with_its_reason_and_harms_no_other(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("good"), {"name": "bad", "schedule_type": "wobble"}])
    stack = await make_stack(database, root)
    assert names(stack.book) == {"good"}
    bad = next(row for row in stack.book.rows(stack.project.id) if row.name == "bad")
    assert bad.status == "broken"
    assert "wobble" in (bad.reason or "")
    assert "triggers.yaml:" in (bad.reason or "")


async def test_a_file_that_is_no_yaml_is_one_broken_trigger(database: Database, root: Path) -> None:
    (root / "pipelines/orders/triggers.yaml").write_text("triggers: [")
    stack = await make_stack(database, root)
    assert [(row.name, row.status) for row in stack.book.rows(stack.project.id)] == [("triggers.yaml", "broken")]


async def test_a_file_that_cannot_be_read_leaves_its_triggers_as_they_were(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("a"), webhook("b"), webhook("c")])
    stack = await make_stack(database, root)
    write_triggers(root, "orders", [webhook("a"), webhook("b")])
    await stack.book.look()
    file = root / "pipelines/orders/triggers.yaml"
    good = file.read_text()
    for bad in (good + "- name: [", "triggers: soon\n"):
        file.write_text(bad)
        await stack.book.look()
        assert names(stack.book) == {"a", "b"}
        rows = {row.name: row for row in stack.book.rows(stack.project.id)}
        assert "It works as last read: pipelines/orders/triggers.yaml:" in (rows["a"].reason or "")
        assert rows["c"].reason == "its file no longer names it"
        assert rows["triggers.yaml"].status == "broken"
    again = await make_stack(database, root)
    assert names(again.book) == {"a", "b"}, "a service that starts now knows them from the database"
    file.write_text(good)
    await stack.book.look()
    assert names(stack.book) == {"a", "b"}
    assert {row.name: row.reason for row in stack.book.rows(stack.project.id)} == {
        "a": None, "b": None, "c": "its file no longer names it",
    }  # fmt: skip


async def test_an_empty_file_names_no_trigger_only_once_it_stays_so(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("a")])
    stack = await make_stack(database, root)
    file = root / "pipelines/orders/triggers.yaml"
    file.write_text("")
    emptied_at = file.stat().st_mtime
    for later, left in ((0.0, {"a"}), (EMPTY_SECONDS - 1, {"a"}), (EMPTY_SECONDS + 1, set())):
        stack.book.now = lambda later=later: emptied_at + later
        await stack.book.look()
        assert names(stack.book) == left


async def test_a_trigger_made_by_the_api_is_followed_and_no_file_of_another_takes_it_away(
    database: Database, root: Path
) -> None:
    stack = await make_stack(database, root)
    made = Trigger("orders", "mine", TriggerKind.API, ApiCall(), active=True)
    assert await keep_api_trigger(database, stack.project.id, row_of(made)) is not None
    await stack.book.look()
    assert names(stack.book) == {"mine"}
    write_triggers(root, "orders", [webhook("a")])
    await stack.book.look()
    assert names(stack.book) == {"a", "mine"}
    assert (
        await keep_api_trigger(database, stack.project.id, row_of(Trigger("orders", "a", TriggerKind.API, ApiCall())))
        is None
    )


@pytest.mark.parametrize(
    "change",
    [
        "definition = jsonb_set(definition::jsonb, '{only_if}', '1')",
        "definition = jsonb_set(definition::jsonb, '{kind}', '\"queue\"')",
        "status = 'sampled'",
    ],
    ids=["a field", "a kind", "a status"],
)
async def test_a_trigger_that_only_a_newer_version_understands_is_left_to_it_and_so_are_its_events(
    database: Database, root: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that was accepted here would never be looked at by that trigger."""
    write_triggers(root, "orders", [webhook("a"), webhook("b")])
    async with trigger_stack(database, root) as stack:
        await database.execute("ALTER TABLE headrace.trigger DROP CONSTRAINT trigger_status_check")
        await database.execute(f"UPDATE headrace.trigger SET {change}, updated_at = now() WHERE name = 'a'")
        for _ in range(2):
            await stack.book.look()
            assert names(stack.book) == {"b"}
        assert caplog.text.count("trigger orders/a: ") == 1
        assert "left to the newer Headrace that wrote it" in caplog.text
        with pytest.raises(NewerRecord, match=r"Events of webhook:a cannot be taken here: trigger orders/a"):
            await stack.acceptor.accept(stack.event("webhook:a", "1"))
        assert (await stack.acceptor.accept(stack.event("webhook:b", "1"))).runs
    assert await database.fetchval("SELECT count(*) FROM headrace.event WHERE source = 'webhook:a'") == 0


async def test_ended_runs_that_a_newer_version_s_trigger_listens_for_are_left_to_it(
    database: Database, root: Path
) -> None:
    triggers = [{"name": name, "schedule_type": "run", "run": {"pipeline": name}} for name in ("first", "second")]
    for name in ("first", "second"):
        write_pipeline(root, name, {"one": []})
    write_triggers(root, "orders", triggers)
    async with trigger_stack(database, root) as stack:
        await database.execute("UPDATE headrace.trigger SET definition = '{}', updated_at = now() WHERE name = 'first'")
        await stack.book.look()
        for name in ("first", "second"):
            run = (await stack.acceptor.start(stack.project.id, name, {})).runs[0]
            await database.execute(
                "UPDATE headrace.run SET status = 'completed', finished_at = now() WHERE id = $1", run
            )
        assert await EndedRuns(database, stack.acceptor, [stack.project.id]).look() == 1
    left = "SELECT r.pipeline FROM headrace.ended_run AS e JOIN headrace.run AS r ON r.id = e.run_id"
    assert [row["pipeline"] for row in await database.fetch(left)] == ["first"]


async def test_waiting_for_a_change_ends_with_it(database: Database, root: Path) -> None:
    import anyio

    stack = await make_stack(database, root)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            started = anyio.Event()

            async def change() -> None:
                await started.wait()
                write_triggers(root, "orders", [webhook("a")])
                await stack.book.look()

            tasks.start_soon(change)
            started.set()
            await stack.book.changed()
    assert names(stack.book) == {"a"}
