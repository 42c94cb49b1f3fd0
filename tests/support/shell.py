"""Somebody at a shell: the command line as a process of its own, in pipes or under a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sysconfig
import termios
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.store.embedded import attach

from tests.support.postgres import server_environ, server_home, until_gone
from tests.support.projects import write_project

SECONDS = 60
CTRL_C = "\x03"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass
class Shell:
    """Runs `headrace` in a folder, with an environment."""

    folder: Path
    environ: Mapping[str, str]
    project: Path = field(default_factory=Path)

    def __call__(self, *words: str, code: int | None = None, cwd: Path | None = None, **environ: str) -> Ended:
        """Run `headrace` with these words to its end; with `code` its exit code must be that."""
        return self.sh(["headrace", *words], code=code, cwd=cwd, **environ)

    def sh(
        self, command: str | list[str], *, code: int | None = None, cwd: Path | None = None, **environ: str
    ) -> Ended:
        """Run a command, or a line of the shell, to its end."""
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        ended = subprocess.run(
            argv, cwd=cwd or self.folder, env={**self.environ, **environ}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        found = Ended(ended.returncode, ended.stdout.decode("utf-8", "surrogateescape"), ended.stderr.decode())
        assert code is None or found.code == code, f"{command}: {found}"
        assert "Traceback" not in found.err or "pipelines/" in found.err, f"{command}: {found.err}"
        return found

    def each(self, *commands: str, code: int | None = None) -> list[Ended]:
        """Run lines of the shell, two at once; how they ended, in their order."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda command: self.sh(command, code=code), commands))

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`headrace` with these words, in pipes, while the block lasts."""
        process = subprocess.Popen(
            ["headrace", *words], cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=SECONDS)

    @contextmanager
    def terminal(self, *words: str, columns: int = 80, rows: int = 24, **environ: str) -> Iterator[Terminal]:
        """`headrace` with these words in a terminal of that size, while the block lasts."""
        terminal = Terminal(["headrace", *words], self.folder, {**self.environ, **environ}, columns, rows)
        try:
            yield terminal
        finally:
            terminal.close()


class Terminal:
    """A command with a terminal of its own; `raw` is all that it wrote, `text` the same without escape sequences."""

    def __init__(self, argv: list[str], folder: Path, environ: Mapping[str, str], columns: int, rows: int) -> None:
        self.raw = ""
        self._bytes = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            argv, cwd=folder, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    @property
    def text(self) -> str:
        return _ESCAPES.sub("", self.raw).replace("\r", "")

    @property
    def colours(self) -> list[str]:
        return [found for found in _COLOURS.findall(self.raw) if found not in ("\x1b[0m", "\x1b[1m", "\x1b[2m")]

    def until(self, text: str) -> str:
        """Read until the command has written `text`; all that was written."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text:
            assert self._read(deadline), f"{text!r} did not come:\n{self.text}"
        return self.text

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def ended(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(SECONDS)

    def _read(self, deadline: float) -> bool:
        readable, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
        try:
            part = os.read(self._master, 65536) if readable else b""
        except OSError:  # the other side has been closed
            part = b""
        self._bytes += part
        self.raw = self._bytes.decode("utf-8", "replace")
        return bool(part)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(SECONDS)
        os.close(self._master)


@contextmanager
def shell_with_server() -> Iterator[Shell]:
    """A shell beside an empty project `mill`, whose embedded server is held so that each command finds it ready."""
    with server_home() as home:
        project = write_project(home / "mill")
        environ = {
            **server_environ(home),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "HEADRACE_PROJECT"):
            environ.pop(name, None)
        attachment = attach(project, environ)
        try:
            yield Shell(project, environ, project)
        finally:
            attachment.close()
            until_gone(attachment.pid, attachment.keeper_pid)
