"""`python -m tests.chaos --seconds N --seed S`: a storm; prints its report, exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from tests.chaos.storm import StormPlan, storm


def main() -> int:
    """Read the arguments, let the storm pass, print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long it lasts; 60 if left out")
    parser.add_argument("--seed", type=int, default=1, help="what it does and when follows from it; 1 if left out")
    options = parser.parse_args()
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # it tells of each connection that it cannot make yet
    report = asyncio.run(storm(StormPlan(options.seconds, options.seed)))
    print("\n".join(report.lines()))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
