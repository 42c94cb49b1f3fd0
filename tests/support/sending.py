"""Requests written to a socket byte by byte, for what no client would send."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit


def github_headers(body: bytes, secret: str, delivery: str, event: str = "push") -> dict[str, str]:
    """The headers with which GitHub sends a delivery."""
    return {
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "Content-Type": "application/json",
    }


class Line:
    """A connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    @classmethod
    async def to(cls, url: str) -> Line:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer, parts.netloc)

    async def head(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        await self.send("\r\n".join(lines).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self, within: float = 10) -> int:
        """The status of the answer; 0 where the connection was closed without one."""
        async with asyncio.timeout(within):
            line = await self.reader.readline()
        return int(line.split()[1]) if line else 0

    def close(self) -> None:
        self.writer.transport.abort()
