"""The names `mage_ai.*` that existing block files import, each a thin alias of ours."""

from __future__ import annotations


def install() -> None:
    """Make the names importable in this process."""
