"""Mage's calling conventions: which function of a source runs, with which arguments, and what its return value means."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import logging
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

from headrace.blocks import templating
from headrace.blocks.decorators import ACTIVE, INJECTED, Registry
from headrace.domain.errors import HeadraceError

Inputs = Mapping[str, Sequence[Any]]
"""Upstream block to its outputs, in the order of the block's upstream_blocks."""

OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
SENSOR_SECONDS = 60.0


class BlockSourceFault(HeadraceError):
    """A block's source lacks what its type needs."""

    code = "block-source"


class BlockArgumentsFault(HeadraceError):
    """A block's function does not take what its upstream blocks give."""

    code = "block-arguments"


class BlockTestsFailed(HeadraceError):
    """At least one of a block's tests failed."""

    code = "test-failed"


@dataclass(frozen=True)
class Collected:
    """What a source marked when it was executed."""

    path: str
    block_type: str
    registry: Registry

    @property
    def functions(self) -> list[Callable[..., Any]]:
        return self.registry.of(DECORATORS.get(self.block_type, self.block_type))


@dataclass(frozen=True)
class TestsReport:
    """How many of a block's tests passed; a failing one raises instead."""

    __test__ = False

    passed: int
    failed: int = 0
    failures: tuple[str, ...] = field(default=())


DECORATORS = {"conditional": "condition"}
"""Block types whose decorator has another name."""


def collect(text: str, path: str, block_type: str, inputs: Inputs) -> Collected:
    """Execute a source in a fresh namespace and give the functions it marked. Raises what the source raises."""
    registry = Registry()
    namespace: dict[str, Any] = {"__name__": "block", "__file__": path, **_named_inputs(inputs), **INJECTED}
    token = ACTIVE.set(registry)
    try:
        exec(_compiled(text, path), namespace)  # noqa: S102 - running the user's source is what a worker is for
    finally:
        ACTIVE.reset(token)
    return Collected(path, block_type, registry)


def _named_inputs(inputs: Inputs) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, (uuid, outputs) in enumerate(inputs.items(), start=1):
        named[uuid] = named[f"df_{number}"] = _argument(outputs)
    return named


@lru_cache(maxsize=512)
def _compiled(text: str, path: str) -> CodeType:
    # Tracebacks show the source as pinned, whatever the file holds by now.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    return compile(text, path, "exec")


def call_block(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any]) -> list[Any]:
    """Call the block's first function after its preprocessers; the outputs that its return value stands for."""
    function = _first(collected)
    arguments = [_argument(outputs) for outputs in inputs.values()]
    _check_arguments(function, arguments, collected, inputs)
    for preprocesser in collected.registry.of("preprocesser"):
        _call(preprocesser, arguments, kwargs)
    return _outputs(_call(function, arguments, kwargs))


def _first(collected: Collected) -> Callable[..., Any]:
    if collected.functions:
        return collected.functions[0]
    name = DECORATORS.get(collected.block_type, collected.block_type)
    raise BlockSourceFault(
        f"{collected.path} has no function decorated with @{name}.",
        remedy=f"Write @{name} above the function that this block is to run.",
    )


def _argument(outputs: Sequence[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else list(outputs)


def _check_arguments(
    function: Callable[..., Any], arguments: Sequence[Any], collected: Collected, inputs: Inputs
) -> None:
    parameters = inspect.signature(function).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    given = len(arguments)
    if len(named) > given or (len(named) < given and inspect.Parameter.VAR_POSITIONAL not in kinds):
        upstream = ", ".join(inputs) or "none"
        raise BlockArgumentsFault(
            f"{function.__name__} in {collected.path} takes {len(named)} upstream outputs ({', '.join(named) or 'none'})"
            f" but the block has {given} upstream blocks ({upstream}).",
            remedy="Each named parameter takes one upstream block's output, in order; *args takes any number; "
            "variables come through **kwargs.",
        )


def _call(function: Callable[..., Any], arguments: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    value = function(*_accepted(function, arguments), **(kwargs if _takes_kwargs(function) else {}))
    return _settled(value)


def _takes_kwargs(function: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _accepted(function: Callable[..., Any], arguments: Sequence[Any]) -> Sequence[Any]:
    """As many arguments as the function has places for."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return arguments
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return arguments[:places]


def _settled(value: Any) -> Any:
    """A coroutine's result; the gathered parts of a generator; anything else as it is."""
    if inspect.iscoroutine(value):
        return asyncio.run(value)
    if inspect.isasyncgen(value):
        return _gathered(asyncio.run(_listed(value)))
    if inspect.isgenerator(value):
        return _gathered(list(value))
    return value


async def _listed(values: Any) -> list[Any]:
    return [value async for value in values]


def _gathered(parts: list[Any]) -> Any:
    """Frames that were yielded one by one become one frame; other values become one list, as a single output."""
    if parts and all(type(part).__name__ == "DataFrame" for part in parts):
        import pandas as pd

        return pd.concat(parts)
    return (parts,)


def _outputs(value: Any) -> list[Any]:
    """None is no output; a tuple or list is spread; anything else is one output."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def has_tests(collected: Collected) -> bool:
    """Whether the source marked any function as a test."""
    return bool(collected.registry.of("test"))


def run_tests(collected: Collected, outputs: Sequence[Any], kwargs: Mapping[str, Any]) -> TestsReport:
    """Call every test on the block's outputs. Raises BlockTestsFailed when an assertion fails, after all have run."""
    tests = collected.registry.of("test")
    failures = [told for test in tests if (told := _failure_of(test, outputs, kwargs)) is not None]
    if failures:
        passed = len(tests) - len(failures)
        raise BlockTestsFailed(f"{passed} of {len(tests)} tests passed. " + " ".join(failures))
    return TestsReport(len(tests))


def _failure_of(test: Callable[..., Any], outputs: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    try:
        _call(test, outputs, kwargs)
    except AssertionError as error:
        return f"{test.__name__}: {error or 'the assertion does not hold'}."
    return None


def conditions_hold(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any]) -> bool:
    """Whether all of a conditional's functions give a true value."""
    _first(collected)
    arguments = [_argument(outputs) for outputs in inputs.values()]
    return all(_call(function, arguments, kwargs) for function in collected.functions)


def call_sensor(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any]) -> bool:
    """One look of a sensor: arguments only where the function takes them."""
    arguments = [_argument(outputs) for outputs in inputs.values()]
    return bool(_call(_first(collected), arguments, kwargs))


def sensor_interval(collected: Collected, configuration: Mapping[str, Any]) -> float:
    """Seconds between two looks: the decorator's interval, else the block's `poll_interval`, else 60."""
    if collected.registry.sensor_interval is not None:
        return collected.registry.sensor_interval
    return float(configuration.get("poll_interval") or SENSOR_SECONDS)


def call_callbacks(
    collected: Collected, outcome: str | None, inputs: Inputs, kwargs: Mapping[str, Any], error: str | None
) -> None:
    """Call the callbacks for an outcome: on the parent's output where they take a positional argument."""
    parent = next(iter(inputs), "")
    outputs = _argument(inputs.get(parent, ()))
    more = {**kwargs, "parent_block_uuid": parent, "__error": error, "__input": outputs}
    for function in collected.registry.callbacks.get(outcome or "success", []):
        _call(function, [outputs], more)


def block_kwargs(
    variables: Mapping[str, Any],
    *,
    configuration: Mapping[str, Any],
    pipeline: str,
    block: str,
    project: str,
    attempt: int,
) -> dict[str, Any]:
    """The keyword arguments of a block. Text variables that hold a Jinja expression are rendered now."""
    rendered = {name: _rendered(value, variables) for name, value in variables.items()}
    return {
        "context": {},
        **rendered,
        "configuration": configuration,
        "pipeline_uuid": pipeline,
        "block_uuid": block,
        "repo_path": project,
        "logger": logging.getLogger(f"headrace.block.{block}"),
        "retry": {"attempts": attempt},
    }


def _rendered(value: Any, variables: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or "{{" not in value:
        return value
    return templating.render(value, environ=os.environ, variables=variables)


def format_without_ours(error: BaseException) -> str:
    """The traceback as Python prints it, with none of Headrace's own frames in it nor in its causes."""
    told = traceback.TracebackException.from_exception(error, limit=None)
    _strip(told, set())
    return "".join(told.format())


def _strip(told: traceback.TracebackException, seen: set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if not frame.filename.startswith(OURS)]
    )
    for other in (told.__cause__, told.__context__):
        if other is not None:
            _strip(other, seen)
