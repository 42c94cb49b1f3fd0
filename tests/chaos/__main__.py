"""`python -m tests.chaos --seconds N --seed S`: a storm; `--long`: every test's long form.

Prints what was found; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from tests.chaos.long_forms import LONG_FORMS, run_long_forms
from tests.chaos.storm import StormPlan, storm
from tests.chaos.strikes import WEATHERS


def main() -> int:
    """Read the arguments, let the storm pass or run the long forms, print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long it lasts; 60 if left out")
    parser.add_argument("--seed", type=int, default=1, help="what it does and when follows from it; 1 if left out")
    parser.add_argument("--weather", choices=list(WEATHERS), default="mixed", help="what strikes; mixed if left out")
    parser.add_argument("--long", nargs="*", choices=list(LONG_FORMS), help="the long forms of these, or of all tests")
    options = parser.parse_args()
    if options.long is not None:
        return _long(options.long or list(LONG_FORMS))
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # it tells of each connection that it cannot make yet
    report = asyncio.run(storm(StormPlan(options.seconds, options.seed, weather=options.weather)))
    print("\n".join(report.lines()))
    return 1 if report.violations else 0


def _long(names: Sequence[str]) -> int:
    broken = 0
    for name, held, told in run_long_forms(names):
        print(f"{name}: {'held' if held else 'BROKEN'}", *(f"  {line}" for line in told), sep="\n", flush=True)
        broken += not held
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
