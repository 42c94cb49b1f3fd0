"""The token of a service's own: made at its first start, in a file that its user alone reads, for the command line.

Services that start at the same time for the same project agree on one: whoever looks for it or makes it holds a lock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headrace.api.auth import PREFIX, digest_of, new_token
from headrace.domain.scopes import Scope
from headrace.store.database import Database
from headrace.store.embedded import HOME_SETTING
from headrace.store.errors import FolderUnusable
from headrace.store.tokens import keep_token

log = logging.getLogger(__name__)

NAME = "token"
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A token that is in a file; `is_new` where this start made it."""

    text: str
    path: Path
    is_new: bool


def token_file(root: Path, environ: Mapping[str, str]) -> Path:
    """Where the token for a project's service is kept: in HEADRACE_HOME, or in the project's .headrace folder."""
    home = environ.get(HOME_SETTING)
    return (Path(home) if home else root / ".headrace") / NAME


def own_token(paths: Sequence[Path], *, but: str | None = None) -> OwnToken:
    """The one token in all of these files; made where none has one other than `but`. Raises FolderUnusable."""
    try:
        with _locked(paths):
            texts = ((read_token(path), path) for path in paths)
            kept = next(((text, path) for text, path in texts if text not in (None, but)), None)
            text, path = kept or (None, paths[0])
            return _kept_in(paths, OwnToken(text or new_token(), path, is_new=text is None))
    except OSError as error:
        raise FolderUnusable(
            f"The service's token cannot be kept in {paths[0]}: {error.strerror}.",
            remedy="Make the folder writable, or give a token in HEADRACE_API_TOKEN.",
        ) from error


@contextmanager
def _locked(paths: Sequence[Path]) -> Iterator[None]:
    """Let nobody else look for these files' token, or make it, until the block ends."""
    with ExitStack() as stack:
        for path in sorted(set(paths)):
            with suppress(OSError):  # where nothing can be written, nobody can make a token either
                _lock(stack, path)
        yield


def _lock(stack: ExitStack, path: Path) -> None:
    _make_folder(path.parent)
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, PRIVATE)
    stack.callback(os.close, descriptor)  # which unlocks
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _kept_in(paths: Sequence[Path], token: OwnToken) -> OwnToken:
    for path in paths:
        if read_token(path) != token.text:
            write_token(path, token.text)
    return token


def read_token(path: Path) -> str | None:
    """The token in a file; None where there is no file, or no token in it."""
    with suppress(FileNotFoundError):
        if path.stat().st_mode & 0o077:
            log.warning("%s could be read by others; it is this user's alone now", path)
            path.chmod(PRIVATE)
        text = path.read_text("ascii", "replace").strip()
        return text if text.startswith(PREFIX) else None
    return None


def write_token(path: Path, text: str) -> None:
    """Put a token into a file; whole or not at all, since a kill may come at any time."""
    _make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, PRIVATE)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if folder.name == ".headrace" and not ignore.exists():
        ignore.write_text("*\n", "utf-8")


async def recorded_token(database: Database, token: OwnToken, paths: Sequence[Path]) -> OwnToken:
    """The token as the database knows it from now on: another one where this one was revoked."""
    name = f"{socket.gethostname()}:{token.path}"
    if await keep_token(database, name, digest_of(token.text), [Scope.ADMIN]):
        return token
    fresh = own_token(paths, but=token.text)
    await keep_token(database, name, digest_of(fresh.text), [Scope.ADMIN])
    return fresh
