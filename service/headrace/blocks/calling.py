"""Mage's calling conventions: which function of a source runs, with what arguments, and what its return value means."""

from __future__ import annotations

import datetime
import inspect
import linecache
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import Any

from headrace.blocks import templating
from headrace.blocks.block_logger import block_logger
from headrace.blocks.coroutines import result_of
from headrace.blocks.decorators import ACTIVE, INJECTED, Registry
from headrace.blocks.parameters import parameters_of
from headrace.blocks.pipeline_run import with_run
from headrace.blocks.secrets import secrets_in
from headrace.blocks.tracebacks import format_without_ours, user_frames
from headrace.domain.errors import HeadraceError
from headrace.domain.moments import revived

__all__ = [
    "BlockArgumentsFault",
    "BlockSourceFault",
    "BlockTestsFailed",
    "Collected",
    "TestsReport",
    "Verdict",
    "argument",
    "block_kwargs",
    "call_block",
    "call_callbacks",
    "collect",
    "compiled",
    "conditions_hold",
    "first_function",
    "format_without_ours",
    "has_tests",
    "name_of",
    "run_tests",
    "settled",
    "user_frames",
]

Inputs = Mapping[str, Sequence[Any]]
"""Upstream block to its outputs, in the order of the block's upstream_blocks."""
Function = Callable[..., Any]

DECORATORS = {"conditional": "condition"}
"""Block types whose decorator has another name."""

_log = logging.getLogger("headrace.block")


class BlockSourceFault(HeadraceError):
    """A block's source has no function for the block's type."""

    code = "no-decorated-function"


class BlockArgumentsFault(HeadraceError):
    """A block's function does not take what its upstream blocks give."""

    code = "block-arguments"


class BlockTestsFailed(HeadraceError):
    """At least one of a block's tests failed."""

    code = "test-failed"

    def __init__(self, report: TestsReport) -> None:
        total = report.passed + report.failed
        super().__init__(f"{report.passed} of {total} tests passed. " + " ".join(report.failures))
        self.report = report


@dataclass(frozen=True)
class Collected:
    """What a source marked when it was executed."""

    path: str
    block_type: str
    registry: Registry

    @property
    def functions(self) -> list[Function]:
        """The functions marked for the block's type, in the order of the file."""
        return self.registry.of(self.decorator)

    @property
    def decorator(self) -> str:
        """The name of the decorator that the block's type asks for."""
        return DECORATORS.get(self.block_type, self.block_type)


@dataclass(frozen=True)
class TestsReport:
    """How many of a block's tests passed, and what each failing one said."""

    __test__ = False

    passed: int
    failures: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """How many tests failed."""
        return len(self.failures)


@dataclass(frozen=True)
class Verdict:
    """Whether the conditions of a block hold, and if not, why not."""

    met: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.met


def collect(text: str, path: str, block_type: str, inputs: Inputs) -> Collected:
    """Execute a source in a fresh namespace and give the functions it marked. Raises what the source raises.

    `path` is absolute and is what tracebacks show; `inputs` become globals under their uuid and as df_1, df_2, …
    """
    module = ModuleType(_module_name(path))
    namespace = module.__dict__
    namespace.update(_named_inputs(inputs), **INJECTED, __file__=path)
    registry = Registry(namespace)
    token = ACTIVE.set(registry)
    try:
        with _importable(module):
            exec(compiled(text, path), namespace)  # noqa: S102 - running the user's source is what a worker is for
    finally:
        ACTIVE.reset(token)
    return Collected(path, block_type, registry)


@lru_cache(maxsize=512)
def _module_name(path: str) -> str:
    return "block." + re.sub(r"\W", "_", PurePath(path).stem)


def _named_inputs(inputs: Inputs) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, (uuid, outputs) in enumerate(inputs.items(), start=1):
        named[uuid] = named[f"df_{number}"] = argument(outputs)
    return named


@contextmanager
def _importable(module: ModuleType) -> Iterator[None]:
    """Dataclasses look their module up while they are made; afterwards classes of a block must pickle by value."""
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.modules.pop(module.__name__, None)


def compiled(text: str, path: str) -> CodeType:
    """A source as code; nothing of it runs. Raises SyntaxError."""
    # Tracebacks show the source as pinned, whatever the file holds by now.
    linecache.cache[path] = (len(text), None, _lines(text), path)
    return _compiled_once(text, path)


@lru_cache(maxsize=512)
def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@lru_cache(maxsize=512)
def _compiled_once(text: str, path: str) -> CodeType:
    return compile(text, path, "exec", dont_inherit=True)


def call_block(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any]) -> list[Any]:
    """Call the block's first function after its preprocessers; the outputs that its return value stands for.

    None is no output; a tuple or list is spread; the frames that a generator yields are one frame, its other values
    one list; anything else is one output.
    """
    function = first_function(collected)
    arguments = [argument(outputs) for outputs in inputs.values()]
    _check_arguments(function, arguments, collected, inputs)
    for preprocesser in collected.registry.of("preprocesser"):
        _call(preprocesser, _accepted(preprocesser, arguments), kwargs)
    return _outputs(_call(function, arguments, kwargs))


def first_function(collected: Collected) -> Function:
    """The function that the block runs. Raises BlockSourceFault where the source marks none."""
    if collected.functions:
        return collected.functions[0]
    name = collected.decorator
    found = ", ".join(f"@{other}" for other in collected.registry.marked) or "none"
    raise BlockSourceFault(
        f"{collected.path} has no function decorated with @{name} (decorators found: {found}).",
        remedy=f"Write @{name} above the function that this block is to run.",
    )


def argument(outputs: Sequence[Any]) -> Any:
    """The outputs of one upstream block as the one argument that they are."""
    return outputs[0] if len(outputs) == 1 else list(outputs)


def _check_arguments(function: Function, arguments: Sequence[Any], collected: Collected, inputs: Inputs) -> None:
    taken = parameters_of(function)
    named, given = taken.named, len(arguments)
    if len(named) == given or (len(named) < given and taken.takes_more):
        return
    raise BlockArgumentsFault(
        f"{name_of(function)} in {collected.path} takes {len(named)} upstream outputs ({', '.join(named) or 'none'})"
        f" but the block has {given} upstream blocks ({', '.join(inputs) or 'none'}).",
        remedy="Each named parameter takes one upstream block's output, in order; *args takes any number; "
        "variables come through **kwargs.",
    )


def name_of(function: Function) -> str:
    """What a function is called."""
    return getattr(function, "__name__", repr(function))


def _call(function: Function, arguments: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return settled(function(*arguments, **(kwargs if parameters_of(function).takes_kwargs else {})))


def _accepted(function: Function, arguments: Sequence[Any]) -> Sequence[Any]:
    """As many arguments as the function has places for."""
    taken = parameters_of(function)
    return arguments if taken.takes_more else arguments[: taken.places]


def settled(value: Any) -> Any:
    """A coroutine's result; the gathered parts of a generator; anything else as it is."""
    if inspect.iscoroutine(value):
        return result_of(value)
    if inspect.isasyncgen(value):
        return _gathered(result_of(_listed(value)))
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
    return (parts,) if parts else None


def _outputs(value: Any) -> list[Any]:
    """None is no output; a tuple or list is spread; anything else is one output."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def has_tests(collected: Collected) -> bool:
    """Whether the source marked any function as a test."""
    return bool(collected.registry.of("test"))


def run_tests(collected: Collected, outputs: Sequence[Any], kwargs: Mapping[str, Any]) -> TestsReport:
    """Call every test on the block's outputs. Raises BlockTestsFailed when an assertion fails, after all have run.

    What a test raises beside AssertionError ends the tests and is raised, with a note of each that failed before it.
    """
    tests = collected.registry.of("test")
    failures: list[str] = []
    for test in tests:
        try:
            told = _failure_of(test, outputs, kwargs, collected.path)
        except Exception as error:
            for earlier in failures:
                error.add_note(f"Failed before it: {earlier}")
            raise
        if told is not None:
            failures.append(told)
    report = TestsReport(len(tests) - len(failures), tuple(failures))
    if failures:
        raise BlockTestsFailed(report)
    return report


def _failure_of(test: Function, outputs: Sequence[Any], kwargs: Mapping[str, Any], path: str) -> str | None:
    _check_test_arguments(test, outputs, path)
    try:
        _call(test, outputs, kwargs)
    except AssertionError as error:
        frames = [frame for frame in user_frames(error) if frame[0] == path]
        line = f" (line {frames[-1][1]}: {frames[-1][3]})" if frames else ""
        return f"{name_of(test)}{line}: {error or 'the assertion does not hold'}."
    return None


def _check_test_arguments(test: Function, outputs: Sequence[Any], path: str) -> None:
    try:
        inspect.signature(test).bind(*outputs)
    except TypeError as error:
        raise BlockArgumentsFault(
            f"The test {name_of(test)} in {path} does not take the block's {len(outputs)} outputs: {error}.",
            remedy="A test takes one parameter for each output of the block; *args takes any number.",
        ) from None


def conditions_hold(collected: Collected, inputs: Inputs, kwargs: Mapping[str, Any]) -> Verdict:
    """Whether all of a conditional's functions give a true value; one that raises counts as false, and is logged."""
    first_function(collected)
    arguments = [argument(outputs) for outputs in inputs.values()]
    known = with_run(kwargs, kwargs.get("block_uuid"))
    for function in collected.functions:
        try:
            met = bool(_call(function, _accepted(function, arguments), known))
        except Exception as error:  # a boundary, as in Mage: a condition that raises is a condition that is false
            _log.exception("the condition %s raised: it counts as false", name_of(function))
            return Verdict(False, f"{name_of(function)} raised {type(error).__name__}: {error}")
        if not met:
            return Verdict(False, f"{name_of(function)} gave a false value")
    return Verdict(True)


def call_callbacks(
    collected: Collected, outcome: str | None, inputs: Inputs, kwargs: Mapping[str, Any], error: str | None
) -> None:
    """Call the callbacks for an outcome: on the parent's output where they take a positional argument.

    `inputs` has the parent block alone, with its outputs. All callbacks run; then the first error is raised.
    """
    parent = next(iter(inputs), "")
    outputs = argument(inputs.get(parent, ()))
    base = with_run(kwargs, parent)
    if error is not None:
        base["__error"] = error
    errors: list[Exception] = []
    for function in collected.registry.callbacks.get(outcome or "success", []):
        accepted = _accepted(function, [outputs])
        try:
            _call(function, accepted, base if accepted else {**base, "__input": {parent: outputs}})
        except Exception as raised:  # a boundary: one callback that raises must not stop the others
            errors.append(raised)
    if errors:
        raise errors[0]


def block_kwargs(
    variables: Mapping[str, Any],
    *,
    configuration: Mapping[str, Any],
    pipeline: str,
    block: str,
    project: str,
    attempt: int,
    templates: Collection[str] = (),
) -> dict[str, Any]:
    """The keyword arguments of a block: moments among the variables are read, those of the names `templates` rendered.

    No other value is looked into: what came from elsewhere stays as it came.
    """
    read = {name: revived(value) for name, value in variables.items()}
    rendered = read | {name: _rendered(read[name], read) for name in templates if name in read}
    return {
        "context": {},
        "env": "prod",
        "event": {},
        **_clock(rendered),
        **rendered,
        "configuration": configuration,
        "pipeline_uuid": pipeline,
        "block_uuid": block,
        "repo_path": project,
        "logger": block_logger(block),
        "retry": {"attempts": attempt},
    }


def _clock(variables: Mapping[str, Any]) -> dict[str, str]:
    date = variables.get("execution_date")
    if not isinstance(date, datetime.datetime) or {"ds", "hr"} <= variables.keys():
        return {}
    return {"ds": date.strftime("%Y-%m-%d"), "hr": date.strftime("%H")}


def _rendered(value: Any, variables: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or "{{" not in value:
        return value
    return templating.render(value, environ=os.environ, variables=variables, secret=secrets_in(os.environ))
