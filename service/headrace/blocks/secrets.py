"""Secrets for block authors: the environment variables of their names."""

from __future__ import annotations

import os

from headrace.domain.errors import HeadraceError


class NoSuchSecret(HeadraceError):
    """A block asks for a secret that is not there."""

    code = "no-such-secret"


def get_secret_value(secret_name: str, *_: object, **__: object) -> str:
    """The value of a secret. Raises NoSuchSecret."""
    value = os.environ.get(secret_name)
    if value is None:
        raise NoSuchSecret(
            f"There is no secret {secret_name}.", remedy=f"Set {secret_name} in the environment or in .env."
        )
    return value
