"""A route of the API as a value: what it answers, to whom, and from what; read off the function that answers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args, get_type_hints

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from headrace.api.served import Served
from headrace.domain.scopes import Scope
from headrace.store.tokens import Bearer

JSON = "application/json"
BODILESS = (204,)
_MATCHED = re.compile(r"\{(\w+):[^{}]+\}")


@dataclass(slots=True)
class Call:
    """One request to a route, let through: what the service serves and who asks."""

    served: Served
    request: web.Request
    bearer: Bearer | None
    status: int
    """Of the answer: the route's own unless it is changed to one of those that the route may have, too."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer."""


Answer = Callable[..., Awaitable[Any]]
"""`async def answer(call, *, path, query, headers, body) -> model`, each of the four only where the route takes it."""


@dataclass(frozen=True)
class Route:
    """One method of one path. A route without a scope is open to everybody, and `open_because` says why."""

    method: str
    path: str
    scope: Scope | None
    answer: Answer
    status: int = 200
    problems: tuple[str, ...] = ()
    """Codes of the errors that this route may answer with, beyond those that every route may."""
    also: tuple[int, ...] = ()
    """Other statuses that answers of the same form may have."""
    media: str = JSON
    open_because: str = ""

    def __post_init__(self) -> None:
        if (self.scope is None) != bool(self.open_because):
            raise ValueError(f"{self.method} {self.path}: either a scope, or a reason why it is open")

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        return get_type_hints(self.answer, include_extras=True)

    @property
    def address(self) -> str:
        """The path as it is told: without what its places must match."""
        return _MATCHED.sub(r"{\1}", self.path)

    @property
    def name(self) -> str:
        """The operation's name, unique over all routes."""
        return self.answer.__name__

    @property
    def purpose(self) -> str:
        """What it is for, in a sentence or more."""
        return inspect.getdoc(self.answer) or ""

    def takes(self, part: str) -> type[BaseModel] | None:
        """The model of a request's `path`, `query`, `headers` or `body`; None where the route takes none."""
        return self._hints.get(part)

    @cached_property
    def gives(self) -> TypeAdapter[Any] | None:
        """What its JSON answers are made of, those apart that it writes itself; None where it has no such answers."""
        if self.media != JSON or self.status in BODILESS:
            return None
        hint = self._hints["return"]
        if web.Response in get_args(hint):
            (hint,) = (kind for kind in get_args(hint) if kind is not web.Response)
        return TypeAdapter(hint)
