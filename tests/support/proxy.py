"""A stand-in for the server's socket, between Headrace and Postgres: it cuts, falls silent, loses answers, and leads
elsewhere."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass(eq=False)
class Passage:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    said: bytearray = field(default_factory=bytearray)
    """What the client has said so far."""
    silent: bool = False
    loses_answer: bool = False

    def cut(self) -> None:
        for end in (self.client, self.server):
            end.transport.abort()


@dataclass
class Proxy:
    """The proxy's controls; `url` is the database's address through it."""

    url: str
    target: str
    """The socket that it leads to."""
    passages: list[Passage] = field(default_factory=list)
    answers_lost: int = 0
    _to_lose: tuple[bytes, bytes] = (b"", b"")
    _times: int = 0
    _silenced: Callable[[Passage], bool] = lambda passage: False

    def lead_to(self, database_url: str) -> None:
        """Lead to another server from now on."""
        self.target = _socket_of(database_url)
        self.cut()

    def silence(self, *, who_said: bytes = b"") -> None:
        """Pass on nothing more for connections whose client has said this, old and new ones; they stay open."""
        self._silenced = lambda passage: who_said in passage.said

    def speak(self) -> None:
        """Pass on everything again; what was lost stays lost, so silenced connections are cut."""
        self._silenced = lambda passage: False
        for passage in self.passages:
            if passage.silent:
                passage.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for passage in list(self.passages):
            passage.cut()

    def lose_answers(self, marker: bytes, times: int, *, request: bytes = b"") -> None:
        """Of the next `times` requests (that hold `request`) of clients that have said `marker`, let the server work and
        lose the answer."""
        self._to_lose, self._times = (marker, request), times

    def hears(self, passage: Passage, data: bytes) -> bool:
        """Take in what a client says; whether it is passed on."""
        passage.said += data
        marker, request = self._to_lose
        if self._times > 0 and marker in passage.said and request in data:
            self._times -= 1
            passage.loses_answer = True
        passage.silent = passage.silent or self._silenced(passage)
        return not passage.silent

    def answers(self, passage: Passage) -> bool:
        """Whether what the server says is passed on."""
        if passage.loses_answer:
            self.answers_lost += 1
            passage.cut()
            return False
        passage.silent = passage.silent or self._silenced(passage)
        return not passage.silent


@asynccontextmanager
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the server of an address that names a socket's folder."""
    parts = urlsplit(database_url)
    folder, port = Path(tempfile.mkdtemp(prefix="headrace-proxy-", dir="/tmp")), parse_qs(parts.query)["port"][0]
    made = Proxy(parts._replace(query=f"host={folder}&port={port}").geturl(), _socket_of(database_url))

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pass_on(made, reader, writer)

    server = await asyncio.start_unix_server(pass_on, folder / f".s.PGSQL.{port}")
    try:
        yield made
    finally:
        server.close()
        made.cut()
        shutil.rmtree(folder)


def _socket_of(database_url: str) -> str:
    asked = parse_qs(urlsplit(database_url).query)
    return f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"


async def _pass_on(made: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        answers, server = await asyncio.open_unix_connection(made.target)
    except OSError:
        writer.transport.abort()
        return
    passage = Passage(writer, server)
    made.passages.append(passage)
    try:
        await asyncio.gather(
            _one_way(reader, server, lambda data: made.hears(passage, data)),
            _one_way(answers, writer, lambda data: made.answers(passage)),
        )
    finally:
        passage.cut()
        made.passages.remove(passage)


async def _one_way(source: asyncio.StreamReader, target: asyncio.StreamWriter, passes: Callable[[bytes], bool]) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while data := await source.read(65536):
            if passes(data):
                target.write(data)
                await target.drain()
    target.transport.abort()
