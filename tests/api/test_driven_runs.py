"""Runs over HTTP as they are driven: started, shown, cancelled, retried; their logs and outputs."""

from __future__ import annotations

import asyncio
import io
import json

import pandas as pd
import pytest

from tests.support.api import Api
from tests.support.projects import write_pipeline

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def run(driven: Api, pipeline: str = "orders", **body) -> int:
    started = await driven.post("/api/v1/runs", {"pipeline": pipeline, **body})
    async with asyncio.timeout(30):
        await driven.headrace.finished(started["id"])
    return started["id"]


async def test_a_run_is_started_and_shown_with_its_blocks(driven: Api):
    async with driven.client.post(
        f"{driven.url}/api/v1/runs", json={"pipeline": "orders", "variables": {"day": 3}}
    ) as answer:
        assert answer.status == 201
        started = await answer.json()
        assert answer.headers["Location"] == f"/api/v1/runs/{started['id']}"
    await driven.headrace.finished(started["id"])
    view = await driven.get(f"/api/v1/runs/{started['id']}")
    assert (view["status"], view["variables"]) == ("completed", {"day": 3})
    assert [(block["uuid"], block["status"], block["outputs"]) for block in view["blocks"]] == [
        ("load", "completed", 1),
        ("keep", "completed", 1),
    ]


async def test_runs_are_listed_by_pipeline_and_status(driven: Api):
    write_pipeline(driven.headrace.project.root, "other", {"one": []})
    orders, other = await run(driven), await run(driven, "other")
    assert [item["id"] for item in (await driven.get("/api/v1/runs?pipeline=other"))["items"]] == [other]
    page = await driven.get("/api/v1/runs?status=completed&limit=2")
    assert [item["id"] for item in page["items"]] == [other, orders]
    assert (await driven.get("/api/v1/runs?status=failed"))["items"] == []
    assert (await driven.get("/api/v1/runs?status=lost", status=422))["code"] == "invalid-request"


async def test_one_block_runs_on_stored_outputs(driven: Api):
    write_pipeline(driven.headrace.project.root, "pair", {"first": [], "second": ["first"]})
    refused = await driven.post("/api/v1/runs", {"pipeline": "pair", "block": "second"}, status=409)
    assert refused["code"] == "no-stored-output"
    whole = await run(driven, "pair")
    partial = await driven.get(f"/api/v1/runs/{await run(driven, 'pair', block='second')}")
    assert {block["uuid"]: block["reason"] for block in partial["blocks"]} == {
        "first": f"kept from run {whole}",
        "second": None,
    }


async def test_a_run_is_cancelled_and_retried(driven: Api):
    root = driven.headrace.project.root
    write_pipeline(
        root, "slow", {"wait": []}, {"wait": "import time\n@custom\ndef wait(*args, **kwargs):\n    time.sleep(60)\n"}
    )
    started = (await driven.post("/api/v1/runs", {"pipeline": "slow"}))["id"]
    assert (await driven.post(f"/api/v1/runs/{started}/retry", status=409))["code"] == "still-running"
    await driven.post(f"/api/v1/runs/{started}/cancel", status=202)
    async with asyncio.timeout(20):
        assert (await driven.headrace.finished(started)).status == "cancelled"
    write_pipeline(root, "slow", {"wait": []})
    again = (await driven.post(f"/api/v1/runs/{started}/retry", {"latest": True}))["id"]
    async with asyncio.timeout(20):
        assert (await driven.headrace.finished(again)).status == "completed"


async def test_a_runs_log_is_read_page_by_page(driven: Api):
    write_pipeline(
        driven.headrace.project.root,
        "talk",
        {"say": []},
        {"say": "@custom\ndef say(*args, **kwargs):\n    for n in range(25):\n        print(n)\n"},
    )
    number = await run(driven, "talk")
    texts, after = [], 0
    while after is not None:
        page = await driven.get(f"/api/v1/runs/{number}/logs?limit=10&after={after}")
        texts += [line["text"] for line in page["items"]]
        after = page["next"]
    assert texts == [str(n) for n in range(25)]
    assert (await driven.get(f"/api/v1/runs/{number}/logs?block=other"))["items"] == []


async def test_outputs_are_listed_previewed_and_downloaded(driven: Api):
    number = await run(driven)
    base = f"/api/v1/runs/{number}/blocks/load/outputs"
    listed = (await driven.get(base))["items"]
    assert [(item["index"], item["codec"], item["rows"]) for item in listed] == [(0, "arrow", 3)]
    assert (await driven.get(f"{base}/0"))["preview"]["rows"] == [[1], [2], [3]]
    assert (await driven.get(f"{base}/1", status=404))["code"] == "unknown-output"
    async with driven.client.get(f"{driven.url}{base}/0/download?format=parquet") as answer:
        assert list(pd.read_parquet(io.BytesIO(await answer.read()))["n"]) == [1, 2, 3]
    async with driven.client.get(f"{driven.url}{base}/0/download?format=csv") as answer:
        assert answer.headers["Content-Disposition"].endswith(f"{number}-load-0.csv")
        assert await answer.text() == "n\n1\n2\n3\n"
    async with driven.client.get(f"{driven.url}{base}/0/download") as answer:
        assert (await answer.read())[:6] == b"ARROW1"


async def test_a_value_that_is_no_table_has_no_csv(driven: Api):
    base = f"/api/v1/runs/{await run(driven)}/blocks/keep/outputs/0/download"
    assert (await driven.get(f"{base}?format=csv", status=406))["code"] == "not-rendered"
    async with driven.client.get(f"{driven.url}{base}?format=json") as answer:
        assert json.loads(await answer.read()) == 1
