"""Keeps secrets that people wrote into their files out of answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_SECRET = re.compile(
    r"secret|token|passw(or)?d|passphrase|credential|api_?key|private_?key|authorization", re.IGNORECASE
)
_IN_ADDRESS = re.compile(r"(?<=://)([^/?#\s:@]*):([^/?#\s]*)@")
"""User and password of an address."""


def without_secrets(value: Any) -> Any:
    """The value with `***` for whatever stands under a key that names a secret, and for passwords in addresses."""
    if isinstance(value, Mapping):
        return {name: _under(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", value) if isinstance(value, str) else value


def _under(name: str, item: Any) -> Any:
    return HIDDEN if item and _SECRET.search(name) and not isinstance(item, bool) else without_secrets(item)
