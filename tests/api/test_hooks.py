"""Webhooks over HTTP, nothing driven: who is let in, what is one delivery, what is kept, what is too much."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from headrace.domain.scopes import Scope

from tests.support.api import Api, serving_api
from tests.support.away import reachable
from tests.support.sending import Line, github_headers
from tests.support.triggers import webhook, write_triggers

SECRET = "hook-secret-canary"


async def listen(api: Api, *triggers: Mapping[str, Any]) -> None:
    """Have the project's pipeline listen."""
    write_triggers(api.headrace.project.root, "orders", triggers)
    await api.served.intake.book.look()
    broken = [row.reason for row in api.served.intake.book.rows(api.headrace.project_id) if row.status == "broken"]
    assert broken == []


def hook(path: str, **keys: Any) -> dict[str, Any]:
    trigger = webhook(path.replace("/", "-"), path)
    return {**trigger, "webhook": {"path": path, "preset": "none", **keys}}


def github(path: str = "push", *secrets: str) -> dict[str, Any]:
    return hook(path, preset="github", secret=list(secrets or (SECRET,)))


async def send(api: Api, path: str, body: bytes = b"{}", headers: Mapping[str, str] | None = None, **options: Any):
    """Status, headers and JSON of the answer to one delivery, sent without an API token unless given."""
    given = {"Content-Type": "application/json", "Authorization": "", **(headers or {})}
    async with api.client.post(f"{api.url}/hooks/{path}", data=body, headers=given, **options) as answer:
        return answer.status, answer.headers, await answer.json()


async def test_a_delivery_makes_a_run_and_is_answered_after_the_commit(api: Api):
    await listen(api, hook("orders/new"))
    status, _, told = await send(api, "orders/new", b'{"id": 7}')
    assert status == 202
    assert told["runs"] == [told["run"]]
    row = await api.headrace.database.fetchrow("SELECT * FROM headrace.run WHERE id = $1", told["run"])
    assert row["variables"]["event"] == {"id": 7}
    assert [(fate["fate"], fate["run"]) for fate in told["fates"]] == [("run", told["run"])]


async def test_a_path_without_an_active_trigger_is_not_found(api: Api):
    await listen(api, {**hook("off"), "status": "inactive"})
    for path in ("off", "none", "off/", "OFF"):
        status, _, told = await send(api, path)
        assert (status, told["code"]) == (404, "unknown-hook")
    assert (await api.get("/api/v1/events"))["items"] == []


async def test_where_a_webhook_says_nothing_an_api_token_is_needed(api: Api):
    await listen(api, webhook("quiet"))
    assert (await send(api, "quiet"))[0] == 401
    assert (await send(api, "quiet", headers=await api.token(Scope.READ, name="r")))[0] == 403
    assert (await send(api, "quiet", headers=await api.token(Scope.RUN, name="w")))[0] == 202


async def test_a_delivery_signed_by_its_sender_passes_and_no_other(api: Api):
    await listen(api, github())
    body = b'{"ref": "main"}'
    good = github_headers(body, SECRET, "d1")
    assert (await send(api, "push", body, good))[0] == 202
    bad = [
        (body, github_headers(body, "other", "d2")),
        (body + b" ", github_headers(body, SECRET, "d3")),
        (body, {**good, "X-Hub-Signature-256": good["X-Hub-Signature-256"][:-2]}),
        (body, {"X-GitHub-Delivery": "d4"}),
        (b"", {}),
    ]
    for sent, headers in bad:
        status, _, told = await send(api, "push", sent, headers)
        assert (status, told["code"]) == (401, "bad-signature")
        assert SECRET not in json.dumps(told)
    assert [event["key"] for event in (await api.get("/api/v1/events"))["items"]] == ["d1"]


async def test_an_old_delivery_of_slack_does_not_pass_and_its_challenge_is_answered(api: Api):
    import hashlib
    import hmac

    def signed(body: bytes, at: int) -> dict[str, str]:
        signature = hmac.new(SECRET.encode(), b"v0:%d:%s" % (at, body), hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": f"v0={signature}"}

    await listen(api, hook("slack", preset="slack", secret=SECRET))
    body, now = b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}}', int(time.time())
    assert (await send(api, "slack", body, signed(body, now - 400)))[0] == 401
    assert (await send(api, "slack", body, signed(body, now)))[0] == 202
    hello = b'{"type": "url_verification", "challenge": "abc"}'
    assert (await send(api, "slack", hello, signed(hello, now)))[::2] == (200, {"challenge": "abc"})
    assert (await send(api, "slack", hello, signed(hello, now - 400)))[0] == 401
    (event,) = (await api.get("/api/v1/events"))["items"]
    assert (event["key"], event["kind"]) == ("Ev1", "message")


async def test_githubs_ping_is_answered_and_makes_no_event(api: Api):
    await listen(api, github())
    assert (await send(api, "push", b"{}", github_headers(b"{}", SECRET, "p", "ping")))[::2] == (200, {"pong": True})
    assert (await send(api, "push", b"{}", github_headers(b"{}", "other", "p", "ping")))[0] == 401
    assert (await api.get("/api/v1/events"))["items"] == []


async def test_both_secrets_pass_while_one_replaces_the_other(api: Api):
    await listen(api, github("push", "old", "new"))
    for number, secret in enumerate(("old", "new")):
        assert (await send(api, "push", b"{}", github_headers(b"{}", secret, str(number))))[0] == 202


async def test_a_bearer_secret_may_stand_in_a_header_of_its_own(api: Api):
    await listen(
        api,
        hook("bearer", preset="bearer", secret=SECRET),
        hook("own", preset="bearer", secret=SECRET, header="X-Gitlab-Token"),
    )
    assert (await send(api, "bearer", headers={"Authorization": f"Bearer {SECRET}"}))[0] == 202
    assert (await send(api, "bearer", headers={"Authorization": f"Bearer {SECRET}x"}))[0] == 401
    assert (await send(api, "own", headers={"X-Gitlab-Token": SECRET}))[0] == 202
    assert (await send(api, "own", headers={"Authorization": f"Bearer {SECRET}"}))[0] == 401
    for event in (await api.get("/api/v1/events"))["items"]:
        assert SECRET not in json.dumps(await api.get(f"/api/v1/events/{event['id']}"))
    rows = await api.headrace.database.fetch("SELECT row_to_json(e)::text FROM headrace.event AS e")
    assert SECRET not in str(rows)


async def test_what_came_is_kept_as_it_came(api: Api):
    await listen(api, hook("raw"))
    raw = gzip.compress(b'{"a": "\xc3\xa4"}')
    status, _, told = await send(api, "raw", raw, {"Content-Encoding": "gzip", "X-Thing": "v"})
    assert status == 202
    event = await api.get(f"/api/v1/events/{told['event']}")
    assert event["payload"] == {"a": "ä"}
    assert (event["headers"]["content-encoding"], event["headers"]["x-thing"]) == ("gzip", "v")
    async with api.client.get(f"{api.url}/api/v1/events/{told['event']}/body") as answer:
        assert await answer.read() == raw


@pytest.mark.parametrize(
    ("kind", "body", "payload"),
    [
        ("application/json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/cloudevents+json; charset=utf-8", b"[]", []),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A4&b=2", {"a": "1", "b": ["ä", "2"]}),
        ("application/x-www-form-urlencoded", b"payload=%7B%22a%22%3A1%7D", {"a": 1}),
        ("text/plain", b"hello", "hello"),
        ("application/octet-stream", b"\x00\xff", None),
        ("application/octet-stream", b'{"a": 1}', {"a": 1}),
        ("application/json", b"", None),
    ],
)
async def test_a_body_is_read_as_its_type_says(api: Api, kind: str, body: bytes, payload: Any):
    await listen(api, hook("any"))
    _, _, told = await send(api, "any", body, {"Content-Type": kind})
    assert (await api.get(f"/api/v1/events/{told['event']}"))["payload"] == payload


@pytest.mark.parametrize(
    "body", [b"{", b"NaN", b'{"a": Infinity}', b'"\\ud800"', b"\xff", b"[" * 100_000, b"[" * 500 + b"]" * 500]
)
async def test_json_that_is_none_is_refused_and_kept_once_as_a_dead_letter(api: Api, body: bytes):
    await listen(api, hook("json"))
    for _ in range(2):
        status, _, told = await send(api, "json", body)
        assert (status, told["code"]) == (400, "unreadable-payload")
    (event,) = (await api.get("/api/v1/events"))["items"]
    assert f"event {event['id']}" in told["detail"]
    (fate,) = event["fates"]
    assert (fate["fate"], fate["run"]) == ("dead", None)
    assert "The body" in fate["reason"]
    assert await api.headrace.database.fetchval("SELECT body FROM headrace.event") == body


async def test_a_delivery_that_a_webhooks_template_cannot_read_is_replayed_once_the_template_is_mended(api: Api):
    await listen(api, hook("own", delivery="{{ event.order.number }}"))
    status, _, told = await send(api, "own", b'{"order": 7}')
    assert (status, told["code"]) == (422, "unreadable-key")
    (dead,) = (await api.get("/api/v1/events?fate=dead"))["items"]
    await listen(api, hook("own", delivery="{{ event.order }}"))
    again = await api.post(f"/api/v1/events/{dead['id']}/replay")
    (run,) = again["runs"]
    assert (await api.get(f"/api/v1/runs/{run}"))["variables"]["event"] == {"order": 7}


async def test_a_nul_character_is_kept_in_a_payload(api: Api):
    await listen(api, hook("nul"))
    _, _, told = await send(api, "nul", b'{"a": "x\\u0000y"}')
    assert (await api.get(f"/api/v1/events/{told['event']}"))["payload"] == {"a": "x\0y"}


async def test_the_same_delivery_a_hundred_times_at_once_makes_one_run_and_equal_answers(api: Api):
    await listen(api, github())
    body = b'{"n": 1}'
    headers = github_headers(body, SECRET, "one")
    answers = await asyncio.gather(*(send(api, "push", body, headers) for _ in range(100)))
    assert {status for status, _, _ in answers} == {202}
    assert len({json.dumps(told) for _, _, told in answers}) == 1
    assert await api.headrace.database.fetchval("SELECT count(*) FROM headrace.run") == 1
    assert await api.headrace.database.fetchval("SELECT count(*) FROM headrace.event") == 1


@pytest.mark.parametrize("header", ["Idempotency-Key", "Webhook-Id", "X-Delivery-Id", "Ce-Id"])
async def test_the_senders_own_id_tells_deliveries_apart(api: Api, header: str):
    await listen(api, hook("ids"))
    first = await send(api, "ids", b'{"a": 1}', {header: "k" * 1000 + "ä"})
    again = await send(api, "ids", b'{"a": 2}', {header: "k" * 1000 + "ä"})
    other = await send(api, "ids", b'{"a": 2}', {header: "k" * 1000})
    assert first[2] == again[2] != other[2]


async def test_without_any_id_every_delivery_is_one_of_its_own(api: Api):
    await listen(api, hook("plain"))
    assert (await send(api, "plain"))[2]["run"] != (await send(api, "plain"))[2]["run"]


async def test_a_template_of_the_webhooks_own_tells_deliveries_apart(api: Api):
    await listen(api, hook("own", delivery="{{ event.order }}-{{ headers['x-try'] }}", kind="{{ event.what }}"))
    sent = [(1, "a"), (1, "a"), (1, "b"), (2, "a")]
    runs = [
        (await send(api, "own", json.dumps({"order": n, "what": "paid"}).encode(), {"X-Try": t}))[2]["run"]
        for n, t in sent
    ]
    assert runs[0] == runs[1]
    assert len(set(runs)) == 3
    (event, *_) = (await api.get("/api/v1/events"))["items"]
    assert (event["kind"], event["key"]) == ("paid", "2-a")
    status, _, told = await send(api, "own", b"[]")
    assert (status, told["code"]) == (422, "unreadable-key")


async def test_stripes_event_is_known_by_its_id_and_type(api: Api):
    import hashlib
    import hmac

    await listen(api, hook("stripe", preset="stripe", secret=SECRET))
    body, at = b'{"id": "evt_1", "type": "charge.succeeded"}', int(time.time())
    signature = hmac.new(SECRET.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={at},v1={signature}"}
    first, again = [await send(api, "stripe", body, headers) for _ in range(2)]
    assert first[0] == 202
    assert first[2] == again[2]
    (event,) = (await api.get("/api/v1/events"))["items"]
    assert (event["key"], event["kind"]) == ("evt_1", "charge.succeeded")


async def test_two_triggers_of_one_path_each_make_their_run_and_each_has_its_say(api: Api):
    strict = {**github("both"), "name": "strict", "filter": "event.n > 1"}
    await listen(api, hook("both"), strict)
    assert (await send(api, "both", b'{"n": 2}'))[0] == 401
    body = b'{"n": 2}'
    _, _, told = await send(api, "both", body, github_headers(body, SECRET, "x"))
    assert len(told["runs"]) == 2
    body = b'{"n": 1}'
    _, _, told = await send(api, "both", body, github_headers(body, SECRET, "y"))
    assert sorted(fate["fate"] for fate in told["fates"]) == ["filtered", "run"]


async def test_a_secret_that_is_gone_lets_nobody_in(api: Api):
    await listen(api, github())
    known = api.served.intake.hooks.at("push")[0]
    rules = {"preset": "github", "secrets": ["{{ env_var('GONE') }}"], "scheme": known.rules[0].to_json()["scheme"]}
    await api.headrace.database.execute(
        "UPDATE headrace.trigger SET definition = jsonb_set(definition::jsonb, '{when,settings}', $1::jsonb), updated_at = now()",
        rules,
    )
    await api.served.intake.book.look()
    status, _, told = await send(api, "push", b"{}", github_headers(b"{}", "", "d"))
    assert (status, told["code"]) == (503, "unusable-webhook")


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(api: Api):
    await listen(api, hook("small", max_bytes=1000))
    assert (await send(api, "small", b'"' + b"x" * 998 + b'"'))[0] == 202
    status, _, told = await send(api, "small", b"x" * 1001)
    assert (status, told["code"]) == (413, "body-too-large")

    async def chunks():
        for _ in range(11):
            yield b"y" * 100

    assert (await send(api, "small", chunks()))[0] == 413


async def test_a_hundred_megabytes_are_refused_and_cost_no_memory(api: Api):
    import resource

    await listen(api, hook("big"))
    line = await Line.to(api.url)
    await line.head("POST", "/hooks/big", {"Content-Length": str(100 << 20), "Content-Type": "application/json"})
    assert await line.status() == 413
    line.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = await Line.to(api.url)
    await line.head("POST", "/hooks/big", {"Transfer-Encoding": "chunked"})
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b"x" * (1 << 20))

    async def pour() -> None:
        for _ in range(100):
            await line.send(chunk)

    pouring = asyncio.create_task(pour())
    assert await line.status() == 413
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)
    line.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_refused_once_it_is_larger_than_a_body_may_be(api: Api, encoding: str):
    import resource
    import zlib

    await listen(api, hook("bomb"))
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    zeros = b"\0" * (1 << 20)
    first, again = (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    bomb = first + 1000 * again  # of 1 GB: what was flushed in full can be repeated
    assert len(bomb) < 2 << 20
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    status, _, told = await send(api, "bomb", bomb, {"Content-Encoding": encoding})
    assert (status, told["code"]) == (413, "body-too-large")
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"{}", "gzip"), (gzip.compress(b"{}", mtime=0)[:-4], "gzip"), (b"{}", "br"), (b"{}", "gzip, gzip")],
)
async def test_a_body_that_is_not_compressed_as_it_says_is_refused(api: Api, body: bytes, encoding: str):
    await listen(api, hook("packed"))
    assert (await send(api, "packed", body, {"Content-Encoding": encoding}))[0] == 415


@pytest.mark.alone
async def test_a_body_that_trickles_in_is_given_up_while_others_are_served(api: Api):
    await listen(api, hook("slow", max_seconds=0.5), hook("quick"))
    lines = [await Line.to(api.url) for _ in range(50)]
    for line in lines:
        await line.head("POST", "/hooks/slow", {"Content-Length": "1000"})
        await line.send(b"x")

    async def trickle(line: Line) -> None:
        while True:
            await line.send(b"x")
            await asyncio.sleep(0.05)

    trickles = [asyncio.create_task(trickle(line)) for line in lines]
    began = time.perf_counter()
    assert (await send(api, "quick"))[0] == 202
    assert time.perf_counter() - began < 0.5
    statuses = await asyncio.gather(*(line.status() for line in lines))
    for task in trickles:
        task.cancel()
    await asyncio.gather(*trickles, return_exceptions=True)
    for line in lines:
        line.close()
    assert set(statuses) == {408}
    assert (await api.get("/api/v1/events"))["items"][0]["source"] == "webhook:quick"


async def test_a_sender_beyond_its_rate_is_told_when_to_come_again(api: Api):
    await listen(api, hook("calm", rate={"per_second": 0.5, "burst": 3}), hook("other"))
    answers = [await send(api, "calm") for _ in range(5)]
    assert [status for status, _, _ in answers] == [202, 202, 202, 429, 429]
    assert 1 <= int(answers[-1][1]["Retry-After"]) <= 2
    assert answers[-1][2]["code"] == "too-many-requests"
    assert (await send(api, "other"))[0] == 202


async def test_nothing_is_answered_with_2xx_while_the_database_is_away(root: Path, database_url: str):
    key = {"Idempotency-Key": "k"}
    async with reachable(database_url) as database, serving_api(root, database.url, drive=False) as api:
        await listen(api, hook("away"))
        await database.go_away()
        status, headers, told = await send(api, "away", headers=key)
        assert (status, told["code"]) == (503, "database-unavailable")
        assert int(headers["Retry-After"]) > 0
        await api.get("/healthz")
        assert (await api.get("/readyz", status=503))["waits_for"] == "the database"
        database.come_back()
        first, again = [await send(api, "away", headers=key) for _ in range(2)]
        assert first[0] == 202
        assert first[2] == again[2]
        assert await api.headrace.database.fetchval("SELECT count(*) FROM headrace.run") == 1


async def test_a_response_lost_after_the_commit_is_given_again(api: Api):
    await listen(api, hook("lost"))
    line = await Line.to(api.url)
    await line.head(
        "POST", "/hooks/lost", {"Content-Length": "2", "Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    accepted = asyncio.Event()
    real = api.served.intake.acceptor.announce

    def heard(answers, driven):
        line.close()
        accepted.set()
        real(answers, driven)

    api.served.intake.acceptor.announce = heard
    await line.send(b"{}")
    await asyncio.wait_for(accepted.wait(), 10)
    runs = await api.headrace.database.fetch("SELECT id FROM headrace.run")
    status, _, told = await send(api, "lost", headers={"Idempotency-Key": "k"})
    assert (status, [told["run"]]) == (202, [row["id"] for row in runs])
