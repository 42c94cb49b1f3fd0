"""Where long forms write down what they measured."""

from __future__ import annotations

import os
from pathlib import Path

SETTING = "HEADRACE_CHAOS_REPORT"
"""Names the file that gets the lines; without it they are only printed."""


def tell(line: str) -> None:
    """Add a line to what a long form came to."""
    print(line)
    if path := os.environ.get(SETTING):
        with Path(path).open("a") as report:
            report.write(f"{line}\n")
