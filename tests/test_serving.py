"""`headrace start`: its token, its start without a database, how it stops, several projects in one process."""

from __future__ import annotations

import asyncio
import signal
import stat
from pathlib import Path

import asyncpg
import pytest

from tests.support.away import reachable
from tests.support.projects import write_pipeline, write_project
from tests.support.serving import ServedProcess, begin, started
from tests.support.triggers import write_triggers

WAIT = """
import time
@custom
def wait(*args, **kwargs):
    for _ in range(int(kwargs['seconds'] * 100)):
        time.sleep(0.01)
    return 1
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "shop")
    write_pipeline(root, "orders", {"wait": [], "then": ["wait"]}, {"wait": WAIT})
    return root


async def owner_of(database_url: str, run: int) -> tuple[str, object]:
    connection = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow("SELECT status, owner FROM headrace.run WHERE id = $1", run)
    finally:
        await connection.close()
    return row["status"], row["owner"]


async def test_the_first_start_prints_a_token_and_keeps_it_for_its_user_alone(shop: Path, database_url: str):
    file = shop / ".headrace" / "token"
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        token = file.read_text().strip()
        assert token in service.lines[1]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await service.status("/api/v1/runs") == 200
        assert await service.status("/api/v1/runs", headers={"Authorization": "Bearer other"}) == 401
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        assert token not in service.lines[1]
        assert str(file) in service.lines[1]
        assert await service.status("/api/v1/runs") == 200
        assert token not in service.log.read_text()


async def test_a_token_that_was_revoked_is_replaced_at_the_next_start(shop: Path, database_url: str):
    file = shop / ".headrace" / "token"
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        before = file.read_text()
        (listed,) = (await service.get("/api/v1/tokens"))["items"]
        async with service.client.delete(f"{service.url}/api/v1/tokens/{listed['id']}") as answer:
            assert answer.status == 200
        assert await service.status("/api/v1/runs") == 401
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        assert file.read_text() != before
        headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
        assert await service.status("/api/v1/runs", headers=headers) == 200


async def test_it_starts_without_a_database_and_is_ready_once_there_is_one(shop: Path, database_url: str):
    async with reachable(database_url, at_first=False) as database, started(shop, database_url=database.url) as service:
        assert await service.status("/healthz") == 200
        assert await service.status("/readyz") == 503
        async with service.client.get(f"{service.url}/api/v1/runs") as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["code"] == "not-ready"
        assert await service.status("/metrics") == 200
        assert "waiting for the database" in service.log.read_text()
        database.come_back()
        await service.ready()
        run = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 0}}))["id"]
        await service.reached(run, "completed")


async def test_a_database_that_goes_away_and_comes_back_costs_nothing_but_time(shop: Path, database_url: str):
    async with reachable(database_url) as database, started(shop, database_url=database.url) as service:
        await service.ready()
        run = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 1}}))["id"]
        await service.reached(run, "running", block="wait")
        await database.go_away()
        assert (await service.status("/healthz"), await service.status("/readyz")) == (200, 503)
        database.come_back()
        await service.ready()
        view = await service.reached(run, "completed")
        assert {block["attempt"] for block in view["blocks"]} == {1}


async def test_a_migration_that_fails_by_itself_ends_the_start_and_is_told(shop: Path, database_url: str):
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("DELETE FROM headrace.migration WHERE number = 18")
    finally:
        await connection.close()
    process = await begin(str(shop), environ={"HEADRACE_DATABASE_URL": database_url}, log=shop / "log")
    assert await asyncio.wait_for(process.wait(), 20) == 3
    told = (shop / "log").read_text()
    assert "error[migration-failed]: Migration 0018_project_databases.sql failed" in told
    assert "Nothing of it was kept" in told
    assert "Traceback" not in told


async def test_it_can_be_stopped_while_it_waits_for_the_database(shop: Path):
    nowhere = "postgresql://x@/x?host=/tmp/headrace-nowhere"
    async with started(shop, database_url=nowhere) as service:
        assert await service.status("/readyz") == 503
        service.signal(signal.SIGTERM)
        assert await service.ended(5) == 0


async def test_on_sigterm_a_running_block_ends_the_next_does_not_start_and_the_run_is_given_back(
    shop: Path, database_url: str
):
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        run = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 1.5}}))["id"]
        await service.reached(run, "running", block="wait")
        waiting = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 60}}))["id"]
        await service.reached(waiting, "running", block="wait")
        await service.post(f"/api/v1/runs/{waiting}/cancel")
        service.signal(signal.SIGTERM)
        while await service.status("/readyz") == 200:
            await asyncio.sleep(0.01)
        late = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 0}}))["id"]
        assert await service.ended() == 0
    assert await owner_of(database_url, run) == ("running", None)
    assert await owner_of(database_url, waiting) == ("cancelled", None)
    assert await owner_of(database_url, late) == ("initial", None)
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        view = await service.reached(run, "completed")
        assert {block["uuid"]: block["attempt"] for block in view["blocks"]} == {"wait": 1, "then": 1}
        await service.reached(late, "completed")


async def test_a_block_that_outlasts_the_drain_is_stopped_and_the_exit_code_tells(shop: Path, database_url: str):
    async with started(shop, database_url=database_url, options=("--drain", "0.3")) as service:
        await service.ready()
        run = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 60}}))["id"]
        await service.reached(run, "running", block="wait")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 1
    assert await owner_of(database_url, run) == ("running", None)


async def test_a_second_sigterm_stops_at_once(shop: Path, database_url: str):
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        run = (await service.post("/api/v1/runs", {"pipeline": "orders", "variables": {"seconds": 60}}))["id"]
        await service.reached(run, "running", block="wait")
        service.signal(signal.SIGTERM)
        while await service.status("/readyz") == 200:
            await asyncio.sleep(0.01)
        service.signal(signal.SIGTERM)
        assert await service.ended(5) == 128 + signal.SIGTERM
    assert await owner_of(database_url, run) == ("running", None)


async def test_where_others_reach_it_it_starts_only_with_a_token_that_is_known(shop: Path, database_url: str):
    environ = {"HEADRACE_DATABASE_URL": database_url}
    process = await begin(str(shop), "--host", "0.0.0.0", environ=environ, log=shop / "log")
    assert await asyncio.wait_for(process.wait(), 20) == 2
    assert "no-authentication" in (shop / "log").read_text()
    token = "t" * 40
    async with started(
        shop, database_url=database_url, options=("--host", "0.0.0.0"), environ={"HEADRACE_API_TOKEN": token}
    ) as service:
        await service.ready()
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        async with service.client.get(f"{url}/api/v1/runs", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
        async with service.client.get(f"{url}/api/v1/runs", headers={"Authorization": "Bearer x"}) as answer:
            assert answer.status == 401


async def test_two_projects_are_served_by_one_process(shop: Path, database_url: str, tmp_path: Path):
    other = write_project(tmp_path / "other")
    write_pipeline(other, "only", {"one": []})
    async with started(shop, other, database_url=database_url) as service:
        await service.ready()
        assert [one["name"] for one in (await service.get("/api/v1/projects"))["items"]] == ["other", "shop"]
        run = (await service.post("/api/v1/runs", {"project": "other", "pipeline": "only"}))["id"]
        await service.reached(run, "completed")
        async with service.client.get(f"{service.url}/metrics") as answer:
            figures = (await answer.text()).splitlines()
        assert 'headrace_runs_ended_total{pipeline="only",status="completed"} 1.0' in figures
        assert 'headrace_block_seconds_count{outcome="completed",pipeline="only"} 1.0' in figures
        assert [one["id"] for one in (await service.get("/api/v1/runs?project=other"))["items"]] == [run]
        assert (await service.get("/api/v1/runs?project=shop"))["items"] == []
        async with service.client.post(f"{service.url}/api/v1/runs", json={"pipeline": "only"}) as answer:
            assert (await answer.json())["code"] == "project-needed"
        assert (other / ".headrace" / "token").read_text() == (shop / ".headrace" / "token").read_text()


async def test_projects_without_a_common_database_or_with_one_name_are_refused(shop: Path, tmp_path: Path):
    write_project(tmp_path / "there" / "shop")
    for there, code in (
        (tmp_path / "there" / "shop", "same-name"),
        (write_project(tmp_path / "b"), "separate-databases"),
    ):
        process = await begin(str(shop), str(there), environ={"HEADRACE_DATABASE_URL": ""}, log=tmp_path / code)
        assert await asyncio.wait_for(process.wait(), 20) == 2
        assert code in (tmp_path / code).read_text()


async def test_an_address_in_use_is_told(shop: Path, database_url: str):
    async with started(shop, database_url=database_url) as service:
        port = service.url.rpartition(":")[2]
        environ = {"HEADRACE_DATABASE_URL": database_url}
        process = await begin(str(shop), "--port", port, environ=environ, log=shop / "log")
        assert await asyncio.wait_for(process.wait(), 20) == 2
        assert "address-in-use" in (shop / "log").read_text()


async def test_the_same_delivery_after_a_restart_is_answered_as_before(shop: Path, database_url: str):
    hook = {"path": "paid", "preset": "none"}
    write_triggers(shop, "orders", [{"name": "paid", "schedule_type": "webhook", "webhook": hook}])
    answers = []
    for _ in range(2):
        async with started(shop, database_url=database_url, options=("--drain", "0")) as service:
            await service.ready()
            for _ in range(2):
                async with service.client.post(
                    f"{service.url}/hooks/paid", json={"n": 1}, headers={"Idempotency-Key": "k"}
                ) as answer:
                    assert answer.status == 202
                    answers.append(await answer.text())
            service.signal(signal.SIGKILL)
            await service.ended()
    assert len(set(answers)) == 1


SLOT = """
@custom
def slot(*args, **kwargs):
    length = kwargs['interval_end_datetime'] - kwargs['interval_start_datetime']
    assert kwargs['interval_start_datetime'] == kwargs['execution_date']
    assert kwargs['interval_start_datetime_previous'] + length == kwargs['execution_date']
    assert length.total_seconds() == kwargs['interval_seconds'] == 1
"""


async def test_a_schedule_makes_runs_that_end_well_with_the_dates_of_their_slots(tmp_path: Path, database_url: str):
    root = write_project(tmp_path / "ticking")
    write_pipeline(root, "tick", {"slot": []}, {"slot": SLOT})
    write_triggers(root, "tick", [{"name": "each", "schedule_type": "time", "schedule_interval": "every 1 second"}])
    async with started(root, database_url=database_url) as service:
        await service.ready()
        async with asyncio.timeout(30):
            while len((await service.get("/api/v1/runs?status=completed"))["items"]) < 3:
                assert not (await service.get("/api/v1/runs?status=failed"))["items"]
                await asyncio.sleep(0.05)


async def test_pools_have_the_sizes_of_the_projects_file_also_while_it_changes(shop: Path, database_url: str):
    """Nobody but the service ever opens this project."""
    set_pool(shop, 1)
    write_pipeline(shop, "printed", {"wait": []}, {"wait": WAIT}, block_options={"wait": {"pool": "press"}})
    async with started(shop, database_url=database_url) as service:
        await service.ready()
        asked = {"pipeline": "printed", "variables": {"seconds": 60}}
        runs = [(await service.post("/api/v1/runs", asked))["id"] for _ in range(3)]
        await service.reached(runs[0], "running", block="wait")
        for run in runs[1:]:
            assert "waiting for a slot of pool press (1 slots)" in await waits(service, run)
        set_pool(shop, 2)
        await service.reached(runs[1], "running", block="wait")
        (shop / "metadata.yaml").write_text("pools: [")
        assert "waiting for a slot of pool press (2 slots)" in await waits(service, runs[2])


def set_pool(root: Path, size: int) -> None:
    (root / "metadata.yaml").write_text(f"project_type: standalone\npools:\n  press: {size}\n")


async def waits(service: ServedProcess, run: int) -> str:
    """What a run waits for, once it waits for a slot."""
    async with asyncio.timeout(20):
        while "waiting for a slot" not in (told := str((await service.get(f"/api/v1/runs/{run}/why"))["items"])):
            await asyncio.sleep(0.02)
    return told
