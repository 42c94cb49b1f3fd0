"""An address on the web that changes, or whose JSON comes to hold something."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from headrace.blocks.event import Event
from headrace.blocks.sensors.clients import client
from headrace.blocks.sensors.messages import digest
from headrace.domain.errors import HeadraceError

MOST_TEXT = 100_000
"""Characters of an answer that is no JSON in an event's payload."""


class AddressRefused(HeadraceError):
    """A sensor that may only reach public addresses was led to another one, or to something that is not on the web."""

    code = "address-refused"


class AnswerTooLarge(HeadraceError):
    """An answer has more bytes than the sensor may read."""

    code = "answer-too-large"


class HttpFailure(HeadraceError):
    """The server answered that it has nothing for us."""

    code = "http-failure"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: its bytes, and what tells it from others."""

    status: int
    body: bytes
    etag: str | None
    modified: str | None


async def http_poll(
    cursor: Any = None,
    *,
    url: str,
    headers: dict[str, str] | None = None,
    condition: str | None = None,
    timeout: float = 30.0,  # noqa: ASYNC109 - a limit of the request, told to the client
    most_bytes: int = 10_000_000,
    public_only: bool = False,
) -> tuple[Event | None, Any]:
    """An event when the page at `url` is another than at the last look; at the first look, too.

    The server is asked with the ETag and date of the last look. With `condition`, a JSONPath (RFC 9535), an event needs
    a match in the page's JSON as well; what matched is in the payload's `matches`. The payload has url, status, etag
    and json or text. With `public_only` no address of a private network is reached, not by a redirect either.
    """
    if not url.startswith(("http://", "https://")):
        raise AddressRefused(f"{url} is not an address on the web.", remedy="Write http:// or https:// before it.")
    before = cursor if isinstance(cursor, Mapping) else {}
    asked = {**(headers or {}), **_conditions(before)}
    page = await _fetched(url, asked, timeout, most_bytes, public_only)
    if page is None:
        return None, None
    now = {"etag": page.etag, "modified": page.modified, "digest": digest(page.body)}
    if now["digest"] == before.get("digest"):
        return None, now if now != before else None
    payload = _payload(url, page)
    if condition is not None:
        payload["matches"] = _matches(condition, payload.get("json"))
        if not payload["matches"]:
            return None, now
    return Event(payload, headers={"url": url}), now


def _conditions(before: Mapping[str, Any]) -> dict[str, str]:
    asked = {"If-None-Match": before.get("etag"), "If-Modified-Since": before.get("modified")}
    return {name: value for name, value in asked.items() if value}


async def _fetched(
    url: str, headers: Mapping[str, str], seconds: float, most_bytes: int, public_only: bool
) -> Page | None:
    """The page, or None where the server says it is the same. Raises HttpFailure, AnswerTooLarge, AddressRefused."""
    connector = aiohttp.TCPConnector(socket_factory=_public_socket if public_only else None)
    limit = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=limit) as session,
        session.get(url, headers=headers) as answer,
    ):
        if answer.status == 304:
            return None
        if answer.status >= 400:
            raise HttpFailure(f"{url} answered {answer.status} {answer.reason}.", remedy="Look at the address.")
        body = await answer.content.read(most_bytes + 1)
        while len(body) <= most_bytes and not answer.content.at_eof():
            body += await answer.content.read(most_bytes + 1 - len(body))
        if len(body) > most_bytes:
            raise AnswerTooLarge(f"{url} answered more than {most_bytes:,} bytes.", remedy="Raise most_bytes.")
        return Page(answer.status, body, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))


def _public_socket(address: Any) -> socket.socket:
    """A socket for an address that was resolved already, so that no name can lead elsewhere afterwards."""
    family, kind, protocol, _, place = address
    if not ipaddress.ip_address(place[0].split("%")[0]).is_global:
        raise AddressRefused(
            f"{place[0]} is no public address, and this sensor may reach no other.", remedy="Leave public_only out."
        )
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


def _payload(url: str, page: Page) -> dict[str, Any]:
    payload: dict[str, Any] = {"url": url, "status": page.status, "etag": page.etag}
    try:
        return {**payload, "json": json.loads(page.body)}
    except ValueError:
        return {**payload, "text": page.body.decode(errors="replace")[:MOST_TEXT]}


def _matches(condition: str, value: Any) -> list[Any]:
    jsonpath = client("jsonpath", "jsonpath")
    return list(jsonpath.findall(condition, value)) if isinstance(value, dict | list) else []
