"""Schedules over HTTP: their next slots, how far each has come, their gaps, and filling them in one call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.triggers import webhook, write_triggers

NIGHTLY = {
    "name": "nightly",
    "schedule_type": "time",
    "schedule_interval": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "status": "active",
}


async def make(api: Api, **keys: Any) -> int:
    """A trigger that lives in the database."""
    made = await api.post("/api/v1/triggers", {"pipeline": "orders", "trigger": {**NIGHTLY, **keys}})
    return made["id"]


async def gaps(api: Api, trigger: int, query: str = "") -> list[dict[str, Any]]:
    return (await api.get(f"/api/v1/triggers/{trigger}/gaps{query}"))["items"]


async def test_slots_are_shown_with_what_the_clocks_do_to_them(api: Api):
    trigger = await make(api, dst_gap="skip", dst_fold="second", jitter=60)
    spring = await api.get(f"/api/v1/triggers/{trigger}/slots?limit=3&after=2026-03-28T00:00:00Z")
    assert spring["timezone"] == "Europe/Berlin"
    assert [(slot["local"], slot["mark"], slot["left_out"]) for slot in spring["slots"]] == [
        ("2026-03-28T02:30:00+01:00", "plain", False),
        ("2026-03-29T03:30:00+02:00", "gap", True),
        ("2026-03-30T02:30:00+02:00", "plain", False),
    ]
    assert spring["slots"][1]["remark"] == "gap: 02:30:00 is skipped; left out"
    assert spring["slots"][0]["starts_at"].startswith("2026-03-28T01:3")
    autumn = await api.get(f"/api/v1/triggers/{trigger}/slots?limit=2&after=2026-10-24T12:00:00Z")
    assert [(slot["at"], slot["mark"], slot["left_out"]) for slot in autumn["slots"]] == [
        ("2026-10-25T00:30:00Z", "first", True),
        ("2026-10-25T01:30:00Z", "second", False),
    ]
    assert (await api.get(f"/api/v1/triggers/{trigger}/slots"))["slots"][0]["at"] > datetime.now(UTC).isoformat()
    last = await api.get(f"/api/v1/triggers/{trigger}/slots?after=9999-12-30T00:00:00Z")
    assert len(last["slots"]) <= 2


async def test_triggers_of_files_have_slots_too_and_others_have_none(api: Api):
    write_triggers(api.headrace.project.root, "orders", [NIGHTLY, webhook("hook"), {**NIGHTLY, "name": "bad", "timezone": "Mars"}])  # fmt: skip
    await api.served.intake.book.look()
    ids = {item["name"]: item["id"] for item in (await api.get("/api/v1/triggers"))["items"]}
    assert len((await api.get(f"/api/v1/triggers/{ids['nightly']}/slots"))["slots"]) == 20
    for kind in ("slots", "gaps"):
        assert (await api.get(f"/api/v1/triggers/{ids['hook']}/{kind}", status=409))["code"] == "not-a-schedule"
        broken = await api.get(f"/api/v1/triggers/{ids['bad']}/{kind}", status=409)
        assert (broken["code"], "Mars" in broken["detail"]) == ("broken-trigger", True)
        await api.get(f"/api/v1/triggers/4711/{kind}", status=404)


async def test_what_slots_do_not_tell_is_said(api: Api):
    trigger = await make(api, end_time="2026-05-07 12:00", status="inactive")
    told = await api.get(f"/api/v1/triggers/{trigger}/slots?after=2026-05-06T00:00:00Z")
    assert told["notes"] == ["2 slots, then no more.", "It is inactive: it makes no runs until it is enabled."]


async def test_gaps_are_found_and_filled_in_one_call_however_often_it_is_made(api: Api):
    trigger = await make(api, schedule_interval="@daily", timezone="UTC")
    since = (datetime.now(UTC) - timedelta(days=5)).replace(hour=12)
    query = f"?since={since.isoformat().replace('+00:00', 'Z')}"
    found = await gaps(api, trigger, query)
    assert [gap["reason"] for gap in found] == ["no run"] * 4
    assert await gaps(api, trigger) == []  # its slots count from now on
    body, path = {"since": since.isoformat(), "concurrency": 9}, f"/api/v1/triggers/{trigger}/gaps/fill"
    filled = await asyncio.gather(*(api.post(path, body, status=200) for _ in range(4)))
    (number,) = [one["backfill"] for one in filled if one["backfill"] is not None]
    assert [one["items"] for one in filled if one["backfill"] is not None] == [found]
    async with asyncio.timeout(20):
        while (shown := await api.get(f"/api/v1/backfills/{number}"))["intervals"]["running"] < 4:
            await asyncio.sleep(0.02)
    assert (shown["name"], shown["concurrency"]) == ("gaps of nightly", 9)
    runs = (await api.get(f"/api/v1/backfills/{number}/intervals"))["items"]
    assert [(run["start"], run["end"]) for run in runs] == [(gap["start"], gap["end"]) for gap in found]
    await api.get(f"/api/v1/triggers/{trigger}/gaps?since=0001-01-01T00:00:00Z", status=422)


async def test_each_schedule_tells_how_far_it_has_come(api: Api):
    trigger = await make(api, schedule_interval="every 1 seconds", timezone="UTC")
    off = await make(api, name="off", status="inactive")
    async with asyncio.timeout(20):
        while (first := (await api.get("/api/v1/schedules"))["items"][0])["late"] is None:
            await asyncio.sleep(0.05)
    assert (first["trigger"], first["project"], first["status"]) == (trigger, "shop", "active")
    assert (first["overdue"], first["catching_up"]) == (0, None)
    assert 0 <= first["late"] < 5
    assert first["last_slot"] < first["next_slot"]
    second = (await api.get("/api/v1/schedules"))["items"][1]
    assert (second["trigger"], second["status"], second["next_slot"]) == (off, "inactive", None)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=yesterday", "extra=1"])
async def test_what_is_no_question_for_slots_is_refused(api: Api, query: str):
    trigger = await make(api)
    await api.get(f"/api/v1/triggers/{trigger}/slots?{query}", status=422)
