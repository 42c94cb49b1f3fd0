"""What stands around all routes: host names, headers, the form of problems, health and figures."""

from __future__ import annotations

import importlib
import io
import pkgutil

import headrace
import pytest
from headrace.api.hosts import host_name, is_loopback
from headrace.api.problems import STATUSES
from headrace.domain.errors import HeadraceError

from tests.support.api import Api
from tests.support.sending import Line


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1:80", 200), ("[::1]:6789", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example:6789", 421), ("10.0.0.1", 421),
    ],
)  # fmt: skip
async def test_a_page_of_another_site_gets_no_answer_under_its_own_name(api: Api, host: str, status: int):
    line = await Line.to(api.url)
    await line.send(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert await line.status() == status
    line.close()


def test_host_headers_and_addresses_are_read_as_they_are_meant():
    assert [host_name(text) for text in ("A:1", "[::1]:2", "::1", "")] == ["a", "::1", "::1", ""]
    loopback = [
        is_loopback(text) for text in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::", "example.org")
    ]
    assert loopback == [True, True, True, True, False, False, False]


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/runs", "/api/v1/none", "/hooks/none"])
async def test_every_answer_has_the_headers_that_keep_browsers_safe_and_lets_no_other_site_read(api: Api, path: str):
    async with api.client.get(api.url + path, headers={"Origin": "https://evil.example"}) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json"


async def test_what_goes_wrong_by_our_fault_tells_a_number_and_no_more(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog
):
    def broken(self, name):
        raise RuntimeError("secret-canary")

    monkeypatch.setattr(type(api.served), "chosen_ids", broken)
    told = await api.get("/api/v1/runs", status=500)
    assert told["code"] == "internal-error"
    assert "canary" not in str(told)
    number = told["detail"].rpartition(" ")[2].rstrip(".")
    assert number in caplog.text


def test_every_error_that_a_route_names_has_a_status_and_every_status_an_error():
    for found in pkgutil.walk_packages(headrace.__path__, "headrace."):
        if not found.name.startswith(("headrace.mage", "headrace.__main__")):
            importlib.import_module(found.name)
    codes, waiting = set(), [HeadraceError]
    while waiting:
        kind = waiting.pop()
        codes.add(kind.code)
        waiting += kind.__subclasses__()
    assert STATUSES.keys() - codes == set()


async def test_a_body_too_large_or_of_another_type_is_refused(api: Api):
    async with api.client.post(f"{api.url}/api/v1/runs", data=io.BytesIO(b"x" * ((1 << 20) + 1))) as answer:
        assert answer.status == 413
    async with api.client.post(f"{api.url}/api/v1/runs", data=b"{}", headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 422


async def test_figures_are_told_in_the_form_of_prometheus(api: Api):
    await api.post("/api/v1/runs", {"pipeline": "orders"})
    async with api.client.get(f"{api.url}/metrics") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    assert 'headrace_runs{status="initial"} 1.0' in lines
    assert "headrace_database_up 1.0" in lines
    assert any(line.startswith('headrace_http_request_seconds_count{route="start_run",status="201"}') for line in lines)


async def test_health_and_readiness_need_no_token(api: Api):
    for path in ("/healthz", "/readyz"):
        await api.get(path, headers={"Authorization": ""})
    api.served.stopping.set()
    assert "stopping" in (await api.get("/readyz", status=503))["waits_for"]
