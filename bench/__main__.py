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

from bench.measures import MEASURES
from bench.projects import write_projects
from bench.table import SLACK, Figure, figures_table


def main() -> int:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all if left out")
    parser.add_argument("--short", action="store_true", help="one round; fails only far beyond a bar")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in MEASURES]
    if unknown:
        parser.error(f"there is no measure {', '.join(unknown)}")
    names = options.names or list(MEASURES)
    figures = asyncio.run(take(names, 1 if options.short else 5))
    Console(width=120).print(figures_table(figures))
    slack = SLACK if options.short else 1.0
    return 0 if all(figure.held(slack) for figure in figures) else 1


async def take(names: list[str], rounds: int) -> list[Figure]:
    """The figures of some measures, on an embedded server of the bench's own."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        Path(folder).chmod(0o755)  # the server runs as an ordinary user and must get through
        root = Path(folder) / "project"
        write_projects(root)
        environ = {**os.environ, "HEADRACE_HOME": str(Path(folder) / "home")}
        environ.pop("HEADRACE_DATABASE_URL", None)
        async with open_headrace(root, environ=environ) as headrace:
            for name in names:
                figures += await MEASURES[name](headrace, rounds)
    return figures


if __name__ == "__main__":
    sys.exit(main())
