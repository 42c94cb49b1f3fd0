"""`python -m bench [--short] [NAME…]`: takes the measures and prints one table; exit code 1 when a bar is missed.

Each measure is taken in a process of its own, on a server of its own: what one leaves behind is nobody else's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict

import uvloop
from headrace.service import open_headrace
from rich.console import Console

from bench import measures
from bench.burst import burst
from bench.claims import claims
from bench.measures import commit_seconds
from bench.notify import notify
from bench.projects import passing_folder, write_projects
from bench.table import Figure, Taken, figures_table

MEASURES = {**measures.MEASURES, "notify": notify, "burst": burst, "claims": claims}
"""Name to measure, in the order they are taken."""


def main() -> int:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all if left out")
    parser.add_argument(
        "--short", action="store_true", help="one round; fails only far beyond a bar, see bench/table.py"
    )
    parser.add_argument("--alone", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(as_text(uvloop.run(take(options.alone, 1 if options.short else 5))))
        return 0
    unknown = [name for name in options.names if name not in MEASURES]
    if unknown:
        parser.error(f"there is no measure {', '.join(unknown)}")
    taken = [one for name in options.names or MEASURES for one in take_apart(name, short=options.short)]
    Console(width=140).print(figures_table(taken, short=options.short))
    return 0 if all(one.passed if options.short else one.figure.held() for one in taken) else 1


def take_apart(name: str, *, short: bool) -> list[Taken]:
    """The figures of one measure, taken in another process."""
    command = [sys.executable, "-m", "bench", "--alone", name, *(["--short"] if short else [])]
    return as_taken(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def as_text(taken: list[Taken]) -> str:
    """Figures in a line of text, as one process tells another."""
    return json.dumps([asdict(one) for one in taken])


def as_taken(text: str) -> list[Taken]:
    """The figures that `as_text` wrote."""
    return [Taken(Figure(**one["figure"]), tuple(one["commits"])) for one in json.loads(text)]


async def take(name: str, rounds: int) -> list[Taken]:
    """The figures of a measure, on an embedded server of its own."""
    with passing_folder() as folder:
        folder.chmod(0o755)  # the server runs as an ordinary user and must get through
        root = folder / "project"
        write_projects(root)
        environ = {**os.environ, "HEADRACE_HOME": str(folder / "home")}
        environ.pop("HEADRACE_DATABASE_URL", None)
        async with open_headrace(root, environ=environ) as headrace:
            before = await commit_seconds(headrace.database.address.dsn)
            figures = await MEASURES[name](headrace, rounds)
            after = await commit_seconds(headrace.database.address.dsn)
    return [Taken(figure, (before, after)) for figure in figures]


if __name__ == "__main__":
    sys.exit(main())
