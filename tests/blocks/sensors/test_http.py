"""Pages that change: asked for by their ETag, told once, with a condition, and not from behind a guard."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from headrace.blocks.sensors.http import AddressRefused, AnswerTooLarge, HttpFailure
from headrace.sensors import http_poll


@dataclass
class Page:
    """A page of a server of the test's own."""

    url: str = ""
    body: bytes = b'{"status": "old"}'
    etag: str | None = '"1"'
    asked: list[str | None] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/away":
            raise web.HTTPFound("/page")
        if request.path != "/page":
            raise web.HTTPNotFound
        self.asked.append(request.headers.get("If-None-Match"))
        if self.etag and request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304)
        return web.Response(body=self.body, headers={"ETag": self.etag} if self.etag else {})


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    served = Page()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/page"
    yield served
    await runner.cleanup()


async def test_a_page_is_told_at_first_and_when_it_is_another(page: Page) -> None:
    event, cursor = await http_poll(None, url=page.url)
    assert event is not None
    assert event.payload == {"url": page.url, "status": 200, "etag": '"1"', "json": {"status": "old"}}
    assert await http_poll(cursor, url=page.url) == (None, None)
    assert page.asked == [None, '"1"']
    page.body, page.etag = b"news", '"2"'
    event, cursor = await http_poll(cursor, url=page.url)
    assert event is not None
    assert event.payload["text"] == "news"
    assert cursor["etag"] == '"2"'


async def test_a_page_without_an_etag_is_compared_by_its_content(page: Page) -> None:
    page.etag = None
    _, cursor = await http_poll(None, url=page.url)
    assert await http_poll(cursor, url=page.url) == (None, None)
    page.body = b"{}"
    event, _ = await http_poll(cursor, url=page.url)
    assert event is not None


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ({"jobs": [{"id": 1, "state": "done"}, {"id": 2, "state": "open"}]}, [1]),
        ({"jobs": [{"id": 2, "state": "open"}]}, None),
        ("no object", None),
    ],
)
async def test_a_condition_needs_a_match_in_the_pages_json(page: Page, value: Any, matches: list[int] | None) -> None:
    page.body = json.dumps(value).encode()
    event, cursor = await http_poll(None, url=page.url, condition="$.jobs[?@.state == 'done'].id")
    assert (None if event is None else event.payload["matches"]) == matches
    assert cursor["etag"] == '"1"'


@pytest.mark.parametrize("address", ["{page}", "{page}/../away", "http://localhost:{port}/page", "http://[::1]:1/"])
async def test_a_guarded_sensor_reaches_no_address_of_its_own_network(page: Page, address: str) -> None:
    port = page.url.split(":")[2].split("/")[0]
    with pytest.raises(Exception, match="no public address") as raised:
        await http_poll(None, url=address.format(page=page.url, port=port), public_only=True)
    assert _has(raised.value, AddressRefused)
    assert page.asked == []


def _has(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


async def test_what_cannot_be_had_fails_the_look(page: Page) -> None:
    with pytest.raises(HttpFailure, match="404"):
        await http_poll(None, url=page.url.replace("page", "nothing"))
    with pytest.raises(AnswerTooLarge, match="10 bytes"):
        await http_poll(None, url=page.url, most_bytes=10)
    with pytest.raises(AddressRefused, match="not an address"):
        await http_poll(None, url="file:///etc/hostname")
