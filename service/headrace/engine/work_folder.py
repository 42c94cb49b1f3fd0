"""The folder on this machine in which a service keeps outputs for its workers; gone with the service."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def work_folder(base: Path) -> Iterator[Path]:
    """A fresh private folder under `base`; those of services that were killed are cleared away first."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(base)
    folder = base / uuid4().hex
    folder.mkdir(mode=0o700)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(base: Path) -> None:
    for folder in base.iterdir():
        if _abandoned(folder / "lock"):
            shutil.rmtree(folder, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    """Whether nobody holds the lock; the kernel lets go of it when its holder dies, however it dies."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)
