"""What happens on a connection before there is a request: heads that do not come, or cannot be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from headrace.api.app import build_app
from headrace.api.listening import listening

from tests.support.api import Api
from tests.support.sending import Line

SECONDS = 0.4
"""How long heads may take here."""


@pytest.fixture
async def line(api: Api) -> AsyncIterator[Line]:
    """A connection to a server that waits only shortly for heads."""
    async with listening(build_app(api.served, None), "127.0.0.1", 0, head_seconds=SECONDS) as url:
        line = await Line.to(url)
        yield line
        line.close()


async def rest(line: Line) -> tuple[dict[str, str], dict[str, str]]:
    """The headers of an answer and its JSON, up to the connection's end."""
    head, _, body = (await asyncio.wait_for(line.reader.read(), 5)).decode().partition("\r\n\r\n")
    return dict(row.lower().split(": ", 1) for row in head.split("\r\n")), json.loads(body)


async def test_a_head_that_stops_half_way_is_answered_and_its_connection_ends(line: Line):
    await line.send(b"POST /hooks/x HTTP/1.1\r\nHost: x\r\n")
    assert await line.status(within=5) == 408
    headers, told = await rest(line)
    assert (told["code"], told["status"]) == ("head-too-slow", 408)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"


async def test_a_head_that_trickles_in_does_not_keep_its_connection(line: Line):
    async def trickle() -> None:
        await line.send(b"GET /healthz HTTP/1.1\r\nX: ")
        while True:
            await line.send(b"x")
            await asyncio.sleep(SECONDS / 20)

    trickling = asyncio.create_task(trickle())
    began = asyncio.get_running_loop().time()
    assert await line.status(within=5) == 408
    assert asyncio.get_running_loop().time() - began < SECONDS * 4
    trickling.cancel()
    await asyncio.gather(trickling, return_exceptions=True)


async def test_a_second_request_that_is_not_finished_ends_like_a_first_one(line: Line):
    await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await line.status() == 200
    await line.reader.readuntil(b"}")
    await line.send(b"GET /healthz HTTP")
    assert await line.status(within=5) == 408


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_connection_on_which_nothing_was_begun_ends_without_a_word(line: Line, before: bytes):
    if before:
        await line.send(before)
        assert await line.status() == 200
        await line.reader.readuntil(b"}")
    assert await asyncio.wait_for(line.reader.read(), 5) == b""


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"])
async def test_what_is_no_http_is_a_problem_too_and_no_news_for_the_log(line: Line, sent: bytes, caplog):
    await line.send(sent)
    assert await line.status(within=5) == 400
    _, told = await rest(line)
    assert told["code"] == "unreadable-request"
    assert caplog.text == ""
