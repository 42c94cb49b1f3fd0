"""`python -m bench [--short] [NAME…]`: takes the measures and prints one table; exit code 1 when a bar is missed."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from headrace.service import open_headrace
from rich.console import Console

from bench import measures
from bench.burst import burst
from bench.claims import claims
from bench.measures import commit_seconds
from bench.notify import notify
from bench.projects import write_projects
from bench.table import Taken, figures_table

MEASURES = {**measures.MEASURES, "notify": notify, "burst": burst, "claims": claims}
"""Name to measure, in the order they are taken."""


def main() -> int:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all if left out")
    parser.add_argument(
        "--short", action="store_true", help="one round; fails only far beyond a bar, see bench/table.py"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in MEASURES]
    if unknown:
        parser.error(f"there is no measure {', '.join(unknown)}")
    names = options.names or list(MEASURES)
    taken = asyncio.run(take(names, 1 if options.short else 5))
    Console(width=140).print(figures_table(taken, short=options.short))
    return 0 if all(one.passed if options.short else one.figure.held() for one in taken) else 1


async def take(names: list[str], rounds: int) -> list[Taken]:
    """The figures of some measures, on an embedded server of the bench's own."""
    taken: list[Taken] = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        Path(folder).chmod(0o755)  # the server runs as an ordinary user and must get through
        root = Path(folder) / "project"
        write_projects(root)
        environ = {**os.environ, "HEADRACE_HOME": str(Path(folder) / "home")}
        environ.pop("HEADRACE_DATABASE_URL", None)
        async with open_headrace(root, environ=environ) as headrace:
            for name in names:
                before = await commit_seconds(headrace.database.address.dsn)
                figures = await MEASURES[name](headrace, rounds)
                after = await commit_seconds(headrace.database.address.dsn)
                taken += [Taken(figure, (before, after)) for figure in figures]
    return taken


if __name__ == "__main__":
    sys.exit(main())
