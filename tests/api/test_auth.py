"""Who gets through: the whole route table is walked, in every shape of its paths; tokens expire and are revoked."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from headrace.api.app import ROUTES, build_app
from headrace.api.routes import Route
from headrace.api.served import Served
from headrace.domain.scopes import Scope

from tests.support.api import Api

GUARDED = [route for route in ROUTES if route.scope is not None]
OPEN = {
    "/healthz",
    "/readyz",
    "/hooks/{path}",
    "/api/pipeline_schedules/{schedule}/pipeline_runs/{token}",
    "/api/pipeline_schedules/{schedule}/api_trigger",
}
"""Addresses whose routes ask for no token themselves; what those ask is tried in test_hooks and test_mage_triggers."""


def address(route: Route) -> str:
    """A path of the route with something in each of its places."""
    given = {"pipeline": "orders", "block": "load", "index": "0"}
    return re.sub(r"\{(\w+)\}", lambda place: given.get(place[1], "1"), route.path)


def shapes(path: str) -> Iterator[str]:
    """The path as it is, and as somebody may write it to get past a check of its text."""
    last = path.rpartition("/")[2]
    yield path
    yield path + "/"
    yield path + "/configs"
    yield path + "/."
    yield path + "/.."
    yield path + ";a=b"
    yield path + "%00"
    yield path + "%2e"
    yield path + ".json"
    yield path + "?/healthz"
    yield path + "%3F/healthz"
    yield path + "%23healthz"
    yield path.replace("/", "//")
    yield "/" + path
    yield path.replace("/", "/./")
    yield "/healthz/.." + path
    yield "/healthz/%2e%2e" + path
    yield path.upper()
    yield path.replace(last, last.capitalize())
    yield path.replace("/", "%2F")
    yield "/" + path[1:].replace("/", "%2F", 1)
    yield path.replace("/", "\\")
    yield path[:-1] + f"%{ord(path[-1]):02x}"
    yield path.replace("a", "%61", 1)
    yield path.replace("a", "%2561", 1)


def raw_status(url: str, method: str, target: str) -> int:
    """The status of a request whose target goes out exactly as given: clients would tidy it up."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 5) as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode("latin-1"))
        answer = connection.makefile("rb").readline()
    return int(answer.split()[1])


async def test_no_shape_of_any_path_gets_through_without_a_token(api: Api):
    def walk() -> dict[str, int]:
        return {
            f"{route.method} {shape}": raw_status(api.url, route.method, shape)
            for route in GUARDED
            for shape in shapes(address(route))
        }

    told = await asyncio.to_thread(walk)
    assert {ask: status for ask, status in told.items() if status not in (400, 401, 404, 405)} == {}
    plain = [f"{route.method} {address(route)}" for route in GUARDED]
    assert {told[ask] for ask in plain} == {401}


async def test_the_application_serves_the_table_and_nothing_else():
    app = build_app(Served(), None)
    assert {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource} == {
        (route.method, route.address) for route in ROUTES
    }
    assert {route.address for route in ROUTES if route.scope is None} == OPEN


def test_a_route_without_a_scope_must_say_why():
    with pytest.raises(ValueError, match="why it is open"):
        Route("GET", "/x", None, test_a_route_without_a_scope_must_say_why)


@pytest.mark.parametrize("held", list(Scope))
async def test_a_token_opens_the_routes_of_its_scopes_alone(api: Api, held: Scope):
    headers = await api.token(held)
    for route in GUARDED:
        async with api.client.request(route.method, api.url + address(route), headers=headers, json={}) as answer:
            refused = answer.status == 403
        allowed = held is Scope.ADMIN or route.scope in (held, Scope.READ)
        assert refused is not allowed, (route.path, answer.status)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer  ", "Basic YTpi", "Bearer headrace_" + "0" * 64, "Bearer é", "Bearer " + "x" * 5000],
)
async def test_what_is_no_token_is_answered_with_a_challenge(api: Api, header: str):
    async with api.client.get(api.url + "/api/v1/runs", headers={"Authorization": header}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert (await answer.json())["code"] == "unauthenticated"


async def test_a_token_is_told_once_used_and_revoked(api: Api):
    made = await api.post("/api/v1/tokens", {"name": "ci", "scopes": ["run"]})
    headers = {"Authorization": f"Bearer {made['text']}"}
    await api.get("/api/v1/runs", headers=headers)
    listed = (await api.get("/api/v1/tokens"))["items"]
    assert made["text"] not in str(listed)
    assert [(token["name"], token["scopes"], token["last_used_at"] is not None) for token in listed] == [
        ("ci", ["run"], True),
        ("all", ["admin"], True),
    ]
    assert (await api.post("/api/v1/tokens", {"name": "ci", "scopes": ["run"]}, status=409))["code"] == "name-taken"
    await api.call("DELETE", f"/api/v1/tokens/{made['token']['id']}", status=200)
    await api.get("/api/v1/runs", headers=headers, status=401)
    await api.post("/api/v1/tokens", {"name": "ci", "scopes": ["run"]})
    await api.call("DELETE", "/api/v1/tokens/4711", status=404)


async def test_a_token_ends_by_itself(api: Api):
    past = datetime.now(UTC) - timedelta(seconds=1)
    await api.get("/api/v1/runs", headers=await api.token(Scope.READ, name="old", expires_at=past), status=401)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    await api.get("/api/v1/runs", headers=await api.token(Scope.READ, name="new", expires_at=soon))


async def test_what_is_stored_of_a_token_does_not_tell_it(api: Api):
    made = await api.post("/api/v1/tokens", {"name": "ci", "scopes": ["read"]})
    rows = await api.headrace.database.fetch("SELECT t::text FROM headrace.token AS t")
    assert made["text"] not in str(rows)
    assert made["text"].removeprefix("headrace_") not in str(rows)
