"""Reads server-sent events as a browser does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Told:
    """One event; a block that only moves the place on has neither name nor data."""

    name: str
    id: str
    data: Any


async def told_of(answer: aiohttp.ClientResponse) -> AsyncIterator[Told]:
    """The events of a stream, those included that only tell a place."""
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "id" in fields:
            yield Told(fields.get("event", ""), fields["id"], json.loads(fields.get("data", "null")))
        fields = {}
