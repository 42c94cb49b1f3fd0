"""What the bearer of an API token may do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum


class Scope(StrEnum):
    """One kind of access."""

    READ = "read"
    """See projects, pipelines, runs, their logs and outputs, events and triggers."""
    RUN = "run"
    """Start, cancel and retry runs, replay events; and see what READ sees."""
    EDIT = "edit"
    """Change triggers and other settings; and see what READ sees."""
    ADMIN = "admin"
    """Everything, also to make and revoke tokens."""


COVERED: Mapping[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.RUN: frozenset({Scope.RUN, Scope.READ}),
    Scope.EDIT: frozenset({Scope.EDIT, Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}
"""What each scope allows."""


def allows(held: Collection[Scope], needed: Scope) -> bool:
    """Whether one of the scopes held allows what is needed."""
    return any(needed in COVERED[scope] for scope in held)
