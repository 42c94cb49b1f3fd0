"""What the API takes and refuses, and how it pages, where nothing is driven."""

from __future__ import annotations

import pytest

from tests.support.api import Api


async def test_pages_of_runs_follow_each_other_without_gap_or_repetition(api: Api):
    made = [(await api.post("/api/v1/runs", {"pipeline": "orders"}))["id"] for _ in range(5)]
    seen, before = [], ""
    while True:
        page = await api.get(f"/api/v1/runs?limit=2{before}")
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        await api.post("/api/v1/runs", {"pipeline": "orders"})
        before = f"&before={page['next']}"
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body.pipeline"),
        ({"pipeline": "orders", "extra": 1}, "body.extra"),
        ({"pipeline": "or\0ders"}, "body.pipeline"),
        ({"pipeline": "orders", "variables": [1]}, "body.variables"),
    ],
)
async def test_what_a_route_does_not_take_is_told_by_its_place(api: Api, body: dict, where: str):
    told = await api.post("/api/v1/runs", body, status=422)
    assert [error["where"] for error in told["errors"]] == [where]


@pytest.mark.parametrize("number", ["0", "-1", "x", "9223372036854775808", "1%2F2", "%00"])
async def test_a_number_that_cannot_be_a_runs_is_refused(api: Api, number: str):
    await api.get(f"/api/v1/runs/{number}", status=422)


async def test_what_is_not_there_is_a_problem_with_a_code(api: Api):
    assert (await api.get("/api/v1/runs/12345", status=404))["code"] == "unknown-run"
    assert (await api.post("/api/v1/runs", {"pipeline": "none"}, status=404))["code"] == "unknown-pipeline"
    assert (await api.get("/api/v1/pipelines?project=none", status=404))["code"] == "unknown-project"
    answer = await api.get("/api/v1/nothing", status=404)
    assert (answer["code"], answer["status"], answer["instance"]) == ("not-found", 404, "/api/v1/nothing")
