"""Holds the embedded server for as long as a service is open, through the death of the server's keeper."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.store.embedded import Attachment, attach
from headrace.store.errors import StoreError

_PAUSE_SECONDS = (0.1, 5.0)  # before the second try to attach again, and the longest

log = logging.getLogger(__name__)


@asynccontextmanager
async def held_server(project: Path, environ: Mapping[str, str]) -> AsyncIterator[Attachment]:
    """Hold a project's server, and attach again when its keeper is killed: its address stays the same.

    The attachment that is given tells the address; its pids are those of the first keeper and server. Raises what
    `attach` raises, for the first time only: later failures are logged and tried again.
    """
    holder = _Holder(project, environ, await attached(project, environ))
    watch = asyncio.create_task(holder.watch())
    try:
        yield holder.attachment
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        holder.attachment.close()


async def attached(project: Path, environ: Mapping[str, str]) -> Attachment:
    """Attach in a thread; when the caller is cancelled meanwhile, the attachment is closed as soon as it exists."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="headrace-attach")
    attaching = executor.submit(attach, project, environ)
    executor.shutdown(wait=False)
    try:
        return await asyncio.wrap_future(attaching)
    except asyncio.CancelledError:
        attaching.add_done_callback(_let_go)
        raise


def _let_go(attaching: Future[Attachment]) -> None:
    if not attaching.cancelled() and attaching.exception() is None:
        attaching.result().close()


class _Holder:
    """The open attachment of a service, and the watch over it."""

    def __init__(self, project: Path, environ: Mapping[str, str], attachment: Attachment) -> None:
        self.project = project
        self.environ = environ
        self.attachment = attachment

    async def watch(self) -> None:
        """Attach again each time that the keeper is gone; runs until cancelled."""
        while True:
            await _until_lost(self.attachment)
            log.warning(
                "The keeper of the database server in %s is gone: starting another", self.attachment.place.folder
            )
            self.attachment.close()
            self.attachment = await self._again()

    async def _again(self) -> Attachment:
        pause, longest = _PAUSE_SECONDS
        while True:
            try:
                return await attached(self.project, self.environ)
            except (StoreError, OSError) as error:
                log.warning("The database server is still away: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)


async def _until_lost(attachment: Attachment) -> None:
    attachment.connection.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(attachment.connection, 4096):
            pass  # the server was restarted; its address is as before
    except ConnectionError:
        return
