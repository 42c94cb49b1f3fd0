"""The live stream of all runs: no change is left out, whoever commits when, however often the line is lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from headrace.api import live_runs
from headrace.store.queries import QUERIES

from tests.support.api import Api
from tests.support.streams import Told, told_of

ORDER = ("initial", "running", "completed")
CREATE = "INSERT INTO headrace.run (project_id, pipeline, version) SELECT project_id, pipeline, version FROM headrace.run LIMIT 1 RETURNING id"


@dataclass
class Client:
    """A client that comes back where it was."""

    api: Api
    query: str = ""
    last: str | None = None
    heard: list[Told] = field(default_factory=list)

    @asynccontextmanager
    async def line(self) -> AsyncIterator[AsyncIterator[Told]]:
        """One connection, which is cut at the end of the block."""
        headers = {} if self.last is None else {"Last-Event-ID": self.last}
        async with self.api.client.get(f"{self.api.url}/api/v1/runs/live{self.query}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Content-Type"] == "text/event-stream"
            yield self._kept(told_of(answer))

    async def _kept(self, events: AsyncIterator[Told]) -> AsyncIterator[Told]:
        async for told in events:
            self.last = told.id
            self.heard.append(told)
            yield told

    async def open(self, line: AsyncIterator[Told]) -> None:
        """Wait until the stream has told its place."""
        first = await asyncio.wait_for(anext(line), 20)
        assert (first.name, first.data) == ("", None)

    async def until(self, line: AsyncIterator[Told], run: int, status: str = "initial") -> None:
        """Hear on until a run has a status."""
        async with asyncio.timeout(20):
            async for told in line:
                if told.name == "run" and (told.data["id"], told.data["status"]) == (run, status):
                    return
        raise AssertionError(f"the stream ended before run {run} was {status}")

    def told(self, run: int) -> list[str]:
        """The statuses that were told of a run, one that was repeated once."""
        found: list[str] = []
        for told in self.heard:
            if told.name == "run" and told.data["id"] == run and found[-1:] != [told.data["status"]]:
                found.append(told.data["status"])
        return found


async def started(api: Api) -> int:
    return (await api.post("/api/v1/runs", {"pipeline": "orders"}))["id"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_that_is_cut_again_and_again_tells_every_run_up_to_its_end(
    driven: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driven.served, "settings", replace(driven.served.settings, beat=0.2))
    client, runs, cuts = Client(driven), list[int](), 0
    async with client.line() as line:
        await client.open(line)

    async def start() -> None:
        for _ in range(20):
            runs.append(await started(driven))

    def is_whole() -> bool:
        return starting.done() and all(client.told(run)[-1:] == ["completed"] for run in runs)

    starting = asyncio.create_task(start())
    async with asyncio.timeout(60):
        while not is_whole():
            async with client.line() as line:
                count = 0
                async for told in line:
                    count += told.name == "run"
                    if count == 4 or is_whole():
                        cuts += 1
                        break
    await starting
    assert cuts > 4
    for run in runs:
        states = client.told(run)
        assert states == sorted(states, key=ORDER.index), states
        last = next(told.data for told in reversed(client.heard) if told.name == "run" and told.data["id"] == run)
        (listed,) = (await driven.get(f"/api/v1/runs?limit=1&before={run + 1}"))["items"]
        assert last == listed
    assert driven.served.streams == 0


async def test_a_run_of_a_transaction_that_commits_late_is_told(api: Api):
    await started(api)
    client = Client(api)
    async with client.line() as line:
        await client.open(line)
        async with api.headrace.database.transaction() as connection:
            late = await connection.fetchval(CREATE)
            later = await started(api)
            assert later > late
            await client.until(line, later)
        await client.until(line, late)
    assert [told.data["id"] for told in client.heard if told.name == "run"] == [later, late]


async def test_a_change_that_commits_while_the_line_is_lost_is_told_on_its_return(api: Api):
    await started(api)
    client = Client(api)
    async with api.headrace.database.transaction() as connection:
        async with client.line() as line:
            await client.open(line)
            lost = await connection.fetchval(CREATE)
            later = [await started(api) for _ in range(3)]
            await client.until(line, later[-1])
        assert client.told(lost) == []
    async with client.line() as line:
        await client.until(line, lost)
    for run in later:
        assert client.told(run) == ["initial"]


async def test_a_stream_begins_with_what_happens_from_now_on(api: Api):
    old, client = await started(api), Client(api)
    async with client.line() as line:
        await client.open(line)
        new = await started(api)
        await client.until(line, new)
    assert [told.data["id"] for told in client.heard if told.name == "run"] == [new]
    assert old < new


async def test_only_what_is_asked_for_is_told(api: Api):
    client = Client(api, "?pipeline=other&project=shop")
    await api.get("/api/v1/runs/live?project=none", status=404)
    async with client.line() as line:
        await client.open(line)
        await started(api)
        other = await started(api)
        await api.headrace.database.execute(
            "UPDATE headrace.run SET pipeline = 'other', changed = pg_current_xact_id() WHERE id = $1", other
        )
        await client.until(line, other)
    assert {told.data["id"] for told in client.heard if told.name == "run"} == {other}


async def test_a_line_on_which_nothing_happens_tells_its_place(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.served, "settings", replace(api.served.settings, beat=0.1))
    client = Client(api)
    async with client.line() as line:
        await client.open(line)
        before = client.last
        await api.headrace.database.execute("CREATE TABLE passing (n int)")
        async with asyncio.timeout(20):
            async for told in line:
                assert told.name == ""
                if told.id != before:
                    break
    assert {told.name for told in client.heard} == {""}


@pytest.mark.parametrize("place", ["999999999999999-0", "0-0"])
async def test_a_place_that_is_unknown_or_too_far_back_is_told(api: Api, place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_runs, "MOST_BEHIND", 2)
    runs = [await started(api) for _ in range(3)]
    client = Client(api, last=place)
    async with client.line() as line:
        first = await asyncio.wait_for(anext(line), 20)
        assert (first.name, first.data) == ("reset", {})
        new = await started(api)
        await client.until(line, new)
    assert [client.told(run) for run in runs] == [[], [], []]
    monkeypatch.setattr(live_runs, "MOST_BEHIND", 10)
    behind = Client(api, last="0-0")
    async with behind.line() as line:
        await behind.until(line, new)
    assert [behind.told(run) for run in [*runs, new]] == [["initial"]] * 4


async def test_more_changes_than_are_read_at_once_come_each_once(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_runs, "CHANGES", 3)
    client, first = Client(api), await started(api)
    async with client.line() as line:
        await client.open(line)
        rows = await api.headrace.database.fetch(
            "INSERT INTO headrace.run (project_id, pipeline, version)"
            " SELECT project_id, pipeline, version FROM headrace.run, generate_series(1, 20) WHERE id = $1 RETURNING id",
            first,
        )
        last = await started(api)
        await client.until(line, last)
    told = [told.data["id"] for told in client.heard if told.name == "run"]
    assert told == [*(row["id"] for row in rows), last]


async def test_changes_of_another_server_that_a_dump_brought_are_not_told_again_and_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.served, "settings", replace(api.served.settings, beat=0.1))
    run, client = await started(api), Client(api)
    await api.headrace.database.execute("UPDATE headrace.run SET changed = '99999999999' WHERE id = $1", run)
    async with client.line() as line:
        await client.open(line)
        for _ in range(3):
            await asyncio.wait_for(anext(line), 20)
        await client.until(line, await started(api))
    assert client.told(run) == []


def test_every_statement_that_changes_a_runs_status_says_so():
    changing = {
        name
        for name, sql in QUERIES.items()
        for update in re.findall(r"UPDATE headrace\.run\b(?!_)(.*?)(?:\bFROM\b|\bWHERE\b)", sql, flags=re.DOTALL)
        if re.search(r"\bstatus = ", update)
    }
    assert changing == {"record_steps", "fail_run"}
    for name in changing:
        assert "changed = pg_current_xact_id()" in QUERIES[name]
