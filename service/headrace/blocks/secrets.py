"""Secrets for block authors and templates: the environment variables of their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from headrace.domain.errors import HeadraceError


class NoSuchSecret(HeadraceError):
    """A block or a template asks for a secret that is not there."""

    code = "no-such-secret"


def get_secret_value(secret_name: str, *_: object, **__: object) -> str:
    """The value of a secret. Raises NoSuchSecret."""
    return secrets_in(os.environ)(secret_name)


def secrets_in(environ: Mapping[str, str]) -> Callable[[str], str]:
    """What gives the value of a secret by its name, or raises NoSuchSecret."""

    def value_of(name: str) -> str:
        value = environ.get(name)
        if value is None:
            raise NoSuchSecret(f"There is no secret {name}.", remedy=f"Set {name} in the environment or in .env.")
        return value

    return value_of
