"""Libraries that only some sensors need: loaded when a sensor is used, and asked for by the name of their extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headrace.domain.errors import HeadraceError


class ClientMissing(HeadraceError):
    """The library that a built-in sensor speaks with is not installed."""

    code = "client-missing"


def client(module: str, extra: str) -> Any:
    """A module of a client library. Raises ClientMissing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ClientMissing(
            f"This sensor needs the library {error.name}, which is not installed.",
            remedy=f"Install it with Headrace: pip install 'headrace[{extra}]'.",
        ) from None
