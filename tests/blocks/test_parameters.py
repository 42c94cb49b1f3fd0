"""What a function takes is told as `inspect.signature` tells it, for plain functions and for everything else."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest
from headrace.blocks.parameters import parameters_of


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Callable:
    def __call__(self, a, *, b=1): ...

    def method(self, a, /, *rest): ...


FUNCTIONS = {
    "nothing": lambda: None,
    "positional": lambda a, b=1: None,
    "positional only": lambda a, /, b: None,
    "keyword only": lambda a, *, b, c=1: None,
    "all kinds": lambda a, /, b, *c, d, **e: None,
    "only variadic": lambda *args, **kwargs: None,
    "with locals": lambda a, *rest: max(x for x in rest),
    "decorated": decorated(lambda a, *, b: None),
    "partial": functools.partial(lambda a, b, **c: None, 1),
    "object": Callable(),
    "method": Callable().method,
    "class": Callable,
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_parameters_are_those_of_the_signature(function: Any) -> None:
    parameters = inspect.signature(function).parameters
    kinds = {each.kind for each in parameters.values()}
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    found = parameters_of(function)
    assert found.named == tuple(name for name, each in parameters.items() if each.kind not in variadic)
    assert found.places == sum(
        each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters.values()
    )
    assert found.takes_more == (inspect.Parameter.VAR_POSITIONAL in kinds)
    assert found.takes_kwargs == (inspect.Parameter.VAR_KEYWORD in kinds)


def test_a_signature_that_is_set_by_hand_counts() -> None:
    def function(*args: Any) -> None: ...

    function.__signature__ = inspect.signature(lambda a, b: None)  # type: ignore[attr-defined]
    assert parameters_of(function).named == ("a", "b")
