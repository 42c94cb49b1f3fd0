"""Backfills over HTTP: what the preview shows is made, by the parts that the command line uses, and can be steered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headrace.store.runs import keep_project

from tests.support.api import Api

RANGE = {"pipeline": "orders", "start": "2026-01-01", "end": "2026-01-05T00:00:00"}


async def make(api: Api, **keys: Any) -> dict[str, Any]:
    return await api.post("/api/v1/backfills", {**RANGE, **keys})


async def intervals(api: Api, backfill: int, query: str = "") -> list[dict[str, Any]]:
    return (await api.get(f"/api/v1/backfills/{backfill}/intervals{query}"))["items"]


async def runs_of(api: Api, backfill: int, number: int) -> list[int]:
    """The runs of a backfill, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            found = [item["run"] for item in await intervals(api, backfill) if item["run"] is not None]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.02)


async def reached(api: Api, backfill: int, status: str) -> dict[str, Any]:
    """A backfill, once it has a status."""
    async with asyncio.timeout(20):
        while (shown := await api.get(f"/api/v1/backfills/{backfill}"))["status"] != status:
            await asyncio.sleep(0.02)
    return shown


async def end(api: Api, runs: list[int], status: str) -> None:
    database = api.headrace.database
    await database.execute("UPDATE headrace.run SET status = 'running' WHERE id = ANY ($1)", runs)
    await database.execute("UPDATE headrace.run SET status = $2, finished_at = now() WHERE id = ANY ($1)", runs, status)
    api.served.intake.run_ended(runs[0])


async def test_what_the_preview_shows_is_made_each_once(api: Api):
    body = {**RANGE, "timezone": "Europe/Berlin", "order": "backwards", "concurrency": 9, "variables": {"n": 3}}
    plan = await api.post("/api/v1/backfills/preview?limit=3", body, status=200)
    assert (plan["runs"], plan["left_out"], len(plan["items"]), plan["next"]) == (5, 0, 3, 3)
    rest = await api.post("/api/v1/backfills/preview?after=3", body, status=200)
    assert ([item["position"] for item in rest["items"]], rest["next"]) == ([4, 5], None)
    assert (await api.get("/api/v1/backfills"))["items"] == []
    made = await api.post("/api/v1/backfills", body)
    assert (made["status"], made["project"], made["variables"]) == ("running", "shop", {"n": 3})
    runs = await runs_of(api, made["id"], 5)
    told = await intervals(api, made["id"])
    planned = [*plan["items"], *rest["items"]]
    assert [(item["position"], item["start"], item["end"]) for item in told] == [
        (item["position"], item["start"], item["end"]) for item in planned
    ]
    assert told[0]["start"] == "2026-01-04T23:00:00Z"
    run = await api.get(f"/api/v1/runs/{runs[0]}")
    assert run["variables"]["n"] == 3
    assert run["variables"]["interval_start_datetime"] == {"$datetime": "2026-01-04T23:00:00+00:00"}
    again = await api.post("/api/v1/backfills/preview", body, status=200)
    assert (again["runs"], again["left_out"]) == (0, 5)
    assert {item["reason"] for item in again["items"]} == {"it has a run that is initial"}


async def test_a_backfill_is_paused_changed_resumed_and_cancelled(api: Api):
    number = (await make(api))["id"]
    path = f"/api/v1/backfills/{number}"
    (first,) = await runs_of(api, number, 1)
    assert (await api.post(f"{path}/pause", status=200))["status"] == "paused"
    assert (await api.post(f"{path}/pause", status=409))["code"] == "backfill-cannot"
    changed = await api.call("PATCH", path, status=200, json={"concurrency": 3})
    assert (changed["concurrency"], changed["pace"], changed["intervals"]["running"]) == (3, 0.0, 1)
    assert await api.call("PATCH", path, status=200, json={}) == changed
    assert (await api.post(f"{path}/resume", status=200))["status"] == "running"
    runs = await runs_of(api, number, 3)
    gone = await api.post(f"{path}/cancel", status=202)
    assert (gone["status"], gone["intervals"]["cancelled"]) == ("cancelled", 2)
    asked = await api.headrace.database.fetch("SELECT id FROM headrace.run WHERE cancel_requested_at IS NOT NULL")
    assert {row["id"] for row in asked} == {first, *runs}
    assert [item["state"] for item in await intervals(api, number)] == ["running"] * 3 + ["cancelled"] * 2


async def test_only_what_failed_is_run_again_and_can_be_looked_for(api: Api):
    number = (await make(api, concurrency=9))["id"]
    runs = await runs_of(api, number, 5)
    await end(api, runs[:3], "completed")
    await end(api, runs[3:], "failed")
    shown = await reached(api, number, "failed")
    counts = {"waiting": 0, "running": 0, "completed": 3, "failed": 2, "left_out": 0, "cancelled": 0}
    assert shown["intervals"] == counts
    failed = await intervals(api, number, "?state=failed")
    assert [(item["position"], item["run"], item["run_status"]) for item in failed] == [
        (4, runs[3], "failed"),
        (5, runs[4], "failed"),
    ]
    page = await api.get(f"/api/v1/backfills/{number}/intervals?limit=2&after=1")
    assert ([item["position"] for item in page["items"]], page["next"]) == ([2, 3], 3)
    assert (await api.post(f"/api/v1/backfills/{number}/retry", status=200))["status"] == "running"
    async with asyncio.timeout(20):
        while [item["tries"] for item in await intervals(api, number)] != [1, 1, 1, 2, 2]:
            await asyncio.sleep(0.02)
    assert await intervals(api, number, "?state=failed") == []


async def test_a_key_makes_one_backfill_also_where_every_interval_is_run_again(api: Api):
    body, headers = {**RANGE, "reprocess": "all"}, {"Idempotency-Key": "june"}
    made = await asyncio.gather(*(api.post("/api/v1/backfills", body, headers=headers) for _ in range(5)))
    assert len({one["id"] for one in made}) == 1
    assert len((await api.get("/api/v1/backfills"))["items"]) == 1


async def test_backfills_come_in_pages_of_one_pipeline_or_status(api: Api):
    made = [(await make(api, reprocess="all"))["id"] for _ in range(3)]
    page = await api.get("/api/v1/backfills?limit=2")
    assert ([item["id"] for item in page["items"]], page["next"]) == (made[:0:-1], made[1])
    page = await api.get(f"/api/v1/backfills?before={page['next']}")
    assert ([item["id"] for item in page["items"]], page["next"]) == (made[:1], None)
    await api.post(f"/api/v1/backfills/{made[0]}/cancel", status=202)
    assert [item["id"] for item in (await api.get("/api/v1/backfills?status=cancelled"))["items"]] == made[:1]
    assert (await api.get("/api/v1/backfills?pipeline=other"))["items"] == []


@pytest.mark.parametrize(
    ("keys", "status", "code"),
    [
        ({"pipeline": "nowhere"}, 404, "unknown-pipeline"),
        ({"interval": "fortnight"}, 422, "bad-interval"),
        ({"timezone": "Mars/Base"}, 422, "bad-backfill"),
        ({"timezone": "../etc/passwd"}, 422, "bad-backfill"),
        ({"end": "2025-12-31"}, 422, "bad-interval"),
        ({"end": "9999-12-31", "interval": "year"}, 422, "bad-interval"),
        ({"interval": "second", "end": "2026-02-01"}, 422, "bad-interval"),
        ({"reprocess": "some"}, 422, "invalid-request"),
        ({"concurrency": 0}, 422, "invalid-request"),
        ({"variables": {"text": "\ud800"}}, 422, "invalid-request"),
        ({"variables": {"text": "\0"}}, 422, "unusable-variable"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/backfills", "/api/v1/backfills/preview"])
async def test_what_cannot_be_made_is_told(api: Api, path: str, keys: dict[str, Any], status: int, code: str):
    assert (await api.post(path, {**RANGE, **keys}, status=status))["code"] == code
    assert (await api.get("/api/v1/backfills"))["items"] == []


async def test_a_backfill_of_a_project_that_is_not_served_here_is_not_there(api: Api):
    number = (await make(api))["id"]
    other = await keep_project(api.headrace.database, "/elsewhere", "elsewhere")
    await api.headrace.database.execute("UPDATE headrace.backfill SET project_id = $1", other)
    for verb, path in (("GET", ""), ("GET", "/intervals"), ("POST", "/cancel"), ("POST", "/retry")):
        told = await api.call(verb, f"/api/v1/backfills/{number}{path}", status=404)
        assert told["code"] == "unknown-backfill"
    assert (await api.get("/api/v1/backfills"))["items"] == []
