"""A database that can go away and come back: its server's socket is reached through a link that is taken away."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg


@dataclass(frozen=True)
class Reachable:
    """A database's address through the link."""

    url: str
    direct_url: str
    link: Path
    folder: str

    def come_back(self) -> None:
        self.link.symlink_to(self.folder)

    async def go_away(self) -> None:
        """Let nobody in any more, and cut those who are."""
        self.link.unlink()
        connection = await asyncpg.connect(self.direct_url)
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await connection.execute(others)
        await connection.close()


@asynccontextmanager
async def reachable(database_url: str, *, at_first: bool = True) -> AsyncIterator[Reachable]:
    """The database at an address that names a socket's folder."""
    (folder,) = parse_qs(urlsplit(database_url).query)["host"]
    with tempfile.TemporaryDirectory(prefix="headrace-test-") as place:
        link = Path(place) / "s"
        made = Reachable(database_url.replace(folder, str(link)), database_url, link, folder)
        if at_first:
            made.come_back()
        yield made
