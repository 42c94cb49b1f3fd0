"""Triggers over HTTP: those of files are shown, those that live in the database are made, changed, exported."""

from __future__ import annotations

import json

import yaml

from tests.support.api import Api
from tests.support.triggers import webhook, write_triggers

NIGHTLY = {"name": "nightly", "schedule_type": "time", "schedule_interval": "@daily", "status": "active"}
CALLED = {"name": "called", "schedule_type": "api", "status": "active", "variables": {"who": "{{ event.who }}"}}


async def make(api: Api, trigger: dict, status: int = 201) -> dict:
    return await api.post("/api/v1/triggers", {"pipeline": "orders", "trigger": trigger}, status=status)


async def test_triggers_of_files_are_shown_and_only_there_to_be_changed(api: Api):
    good = webhook("paid")
    good["webhook"] = {"path": "paid", "preset": "bearer", "secret": "canary"}
    write_triggers(api.headrace.project.root, "orders", [good, {"name": "bad", "schedule_type": "webhook"}])
    await api.served.intake.book.look()
    bad, paid = (await api.get("/api/v1/triggers"))["items"]
    assert (bad["name"], bad["status"]) == ("bad", "broken")
    assert "has no path" in bad["reason"]
    assert (paid["kind"], paid["origin"], paid["source"], paid["status"]) == (
        "webhook",
        "file",
        "webhook:paid",
        "active",
    )
    assert "canary" not in json.dumps(paid)
    assert await api.get(f"/api/v1/triggers/{paid['id']}") == paid
    change = await api.call("PATCH", f"/api/v1/triggers/{paid['id']}", status=409, json={"active": False})
    assert change["code"] == "trigger-of-a-file"
    await api.call("DELETE", f"/api/v1/triggers/{paid['id']}", status=409)
    assert (await make(api, {**CALLED, "name": "paid"}, 409))["code"] == "trigger-of-a-file"


async def test_a_trigger_is_made_changed_and_removed(api: Api):
    made = await make(api, NIGHTLY)
    assert (made["kind"], made["origin"], made["status"]) == ("schedule", "api", "active")
    off = await api.call("PATCH", f"/api/v1/triggers/{made['id']}", status=200, json={"active": False})
    assert off["status"] == "inactive"
    again = await make(api, {**NIGHTLY, "schedule_interval": "@hourly"})
    assert (again["id"], again["status"]) == (made["id"], "active")
    gone = await api.call("DELETE", f"/api/v1/triggers/{made['id']}", status=200)
    assert (gone["status"], gone["reason"]) == ("inactive", "it was removed")
    assert [known.id for known in api.served.intake.book.active()] == []
    await api.get("/api/v1/triggers/4711", status=404)


async def test_a_trigger_that_cannot_be_read_is_refused_with_every_fault(api: Api):
    wrong = {**NIGHTLY, "priority": "high", "max_active_runs": 0}
    told = await make(api, wrong, 422)
    assert {error["where"] for error in told["errors"]} == {"body.trigger.priority", "body.trigger.max_active_runs"}
    unknown = {"pipeline": "none", "trigger": CALLED}
    assert (await api.post("/api/v1/triggers", unknown, status=404))["code"] == "unknown-pipeline"


async def test_what_is_exported_read_from_a_file_makes_the_same_triggers(api: Api):
    first = [await make(api, NIGHTLY), await make(api, CALLED)]
    async with api.client.get(f"{api.url}/api/v1/triggers/export") as answer:
        text = await answer.text()
    assert text.startswith("# pipelines/orders/triggers.yaml\n")
    assert {trigger["name"] for trigger in yaml.safe_load(text)["triggers"]} == {"nightly", "called"}
    for trigger in first:
        await api.call("DELETE", f"/api/v1/triggers/{trigger['id']}", status=200)
    assert (await api.client.get(f"{api.url}/api/v1/triggers/export")).status == 200
    for trigger in yaml.safe_load(text)["triggers"]:
        again = await make(api, trigger)
        (before,) = [one for one in first if one["name"] == trigger["name"]]
        assert again["definition"] == before["definition"]


async def test_an_api_trigger_is_called_and_a_key_calls_it_once(api: Api):
    made = await make(api, CALLED)
    path = f"/api/v1/triggers/{made['id']}/call"
    body = {"variables": {"day": 3}, "event": {"who": "ada"}}
    first = await api.post(path, body, status=202, headers={"Idempotency-Key": "k"})
    again = await api.post(path, body, status=202, headers={"Idempotency-Key": "k"})
    assert (first["is_new"], again["is_new"], first["runs"]) == (True, False, again["runs"])
    run = await api.get(f"/api/v1/runs/{first['runs'][0]}")
    assert run["variables"] == {"who": "ada", "day": 3, "event": {"who": "ada"}, "trigger_name": "called"}
    nightly = await make(api, NIGHTLY)
    refused = await api.post(f"/api/v1/triggers/{nightly['id']}/call", {}, status=409)
    assert refused["code"] == "not-an-api-trigger"
