"""Events over HTTP: listed with their fates, shown whole, accepted again; starts that are made once."""

from __future__ import annotations

import asyncio

from headrace.domain.events import NewEvent

from tests.support.api import Api
from tests.support.triggers import webhook, write_triggers


async def accept(api: Api, source: str, key: str, **more) -> int:
    event = NewEvent(api.headrace.project_id, source, "test", key, **more)
    return (await api.served.intake.acceptor.accept(event)).event


async def test_events_are_listed_with_what_became_of_them(api: Api):
    write_triggers(
        api.headrace.project.root,
        "orders",
        [webhook("all", "paid"), webhook("large", "paid", filter="event.total > 100")],
    )
    await api.served.intake.book.look()
    lost = await accept(api, "webhook:other", "a")
    paid = await accept(api, "webhook:paid", "b", payload={"total": 5})
    listed = (await api.get("/api/v1/events"))["items"]
    assert [event["id"] for event in listed] == [paid, lost]
    assert [(fate["name"], fate["fate"]) for fate in listed[0]["fates"]] == [("all", "run"), ("large", "filtered")]
    assert listed[1]["fates"] == []
    assert [e["id"] for e in (await api.get("/api/v1/events?fate=no match"))["items"]] == [lost]
    assert [e["id"] for e in (await api.get("/api/v1/events?source=webhook:paid"))["items"]] == [paid]
    assert (await api.get("/api/v1/events?limit=1"))["next"] == paid


async def test_an_event_is_shown_whole_and_its_body_as_it_came(api: Api):
    number = await accept(api, "webhook:x", "k", payload={"a": 1}, headers={"X-Name": "v"}, body=b"\x00raw\xff")
    event = await api.get(f"/api/v1/events/{number}")
    assert (event["payload"], event["headers"], event["body_bytes"]) == ({"a": 1}, {"X-Name": "v"}, 5)
    async with api.client.get(f"{api.url}/api/v1/events/{number}/body") as answer:
        assert await answer.read() == b"\x00raw\xff"
    await api.get(f"/api/v1/events/{number + 1}", status=404)


async def test_events_are_accepted_again_one_by_one_or_many_at_once(api: Api):
    first, second = await accept(api, "webhook:x", "1"), await accept(api, "webhook:x", "2")
    write_triggers(api.headrace.project.root, "orders", [webhook("late", "x")])
    await api.served.intake.book.look()
    again = await api.post(f"/api/v1/events/{first}/replay")
    assert (again["is_new"], len(again["runs"])) == (True, 1)
    many = await api.post("/api/v1/events/replay", {"events": [second, first]})
    assert [len(item["runs"]) for item in many["items"]] == [1, 1]
    listed = (await api.get("/api/v1/events"))["items"]
    assert [event["replay_of"] for event in listed] == [first, second, first, None, None]
    await api.post("/api/v1/events/replay", {"events": [first, 4711]}, status=404)
    assert len((await api.get("/api/v1/events"))["items"]) == 5


async def test_a_start_with_a_key_is_made_once(api: Api):
    headers = {"Idempotency-Key": "day-1"}
    body = {"pipeline": "orders", "variables": {"n": 1}}
    ids = await asyncio.gather(*(api.post("/api/v1/runs", body, headers=headers) for _ in range(20)))
    assert len({started["id"] for started in ids}) == 1
    other = await api.post("/api/v1/runs", body, headers={"Idempotency-Key": "day-2"})
    assert other != ids[0]
    assert len((await api.get("/api/v1/runs"))["items"]) == 2
    await api.post("/api/v1/runs", body, headers={"Idempotency-Key": "a b"}, status=422)
    alone = {**body, "block": "load"}
    ids = await asyncio.gather(*(api.post("/api/v1/runs", alone, headers=headers) for _ in range(20)))
    assert len({started["id"] for started in ids}) == 1
    assert len((await api.get("/api/v1/runs"))["items"]) == 3


async def test_a_run_tells_what_it_waits_for(api: Api):
    run = (await api.post("/api/v1/runs", {"pipeline": "orders"}))["id"]
    assert "waiting for a service" in (await api.get(f"/api/v1/runs/{run}/why"))["items"][0]
