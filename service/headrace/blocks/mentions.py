"""Which upstream outputs a SQL block's text mentions: `{{ df_1 }}`, `{{ df_2 }}`, …"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BRACES = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_UPSTREAM = re.compile(r"\bdf_(\d+)\b")


def mentions(text: str) -> Iterator[tuple[int, int]]:
    """Each number that stands within braces, with its line, in the order of the text."""
    for braces in _BRACES.finditer(text):
        for found in _UPSTREAM.finditer(braces[0]):
            yield int(found[1]), text.count("\n", 0, braces.start() + found.start()) + 1
