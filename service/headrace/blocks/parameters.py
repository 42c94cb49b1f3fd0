"""What a function takes, as far as calling a block needs to know it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameters:
    """A function's parameters."""

    named: tuple[str, ...]
    """All but *args and **kwargs."""
    places: int
    """How many of them can be filled by position."""
    takes_more: bool
    """Whether there is *args."""
    takes_kwargs: bool
    """Whether there is **kwargs."""


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """The parameters of a function, of what it wraps, or of another callable."""
    if type(function) is FunctionType and not function.__dict__:  # no __wrapped__, no __signature__
        return _of_code(function.__code__)
    parameters = inspect.signature(function).parameters.values()
    kinds = [each.kind for each in parameters]
    return Parameters(
        tuple(each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)),
        kinds.count(inspect.Parameter.POSITIONAL_ONLY) + kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter.VAR_POSITIONAL in kinds,
        inspect.Parameter.VAR_KEYWORD in kinds,
    )


def _of_code(code: CodeType) -> Parameters:
    """What `inspect.signature` would say, which takes as long as the rest of a trivial block's call."""
    return Parameters(
        code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
        code.co_argcount,
        bool(code.co_flags & inspect.CO_VARARGS),
        bool(code.co_flags & inspect.CO_VARKEYWORDS),
    )
