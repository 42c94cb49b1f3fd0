"""One call in a worker, from stored inputs to stored outputs. Whatever a block raises becomes part of the Result."""

from __future__ import annotations

import json
import logging
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from headrace.blocks import calling, sensing
from headrace.blocks.asking import ask
from headrace.worker import failures, looking
from headrace.worker.binding import Binding
from headrace.worker.codec import decode_output, encode_output, is_faithful_as_is
from headrace.worker.protocol import Call, Codec, CodeRef, Mode, Outcome, Output, Result

_log = logging.getLogger("headrace.block")
_PAGE = resource.getpagesize()

MOST_OUTPUTS = 1000
"""Values of a returned list that are outputs of their own."""
MOST_INLINE = 1 << 20
MOST_PREVIEWS = 4 << 20
"""Bytes that all outputs of one call together have in its answer."""
NO_PREVIEW = msgspec.Raw(b"null")

Inputs = Mapping[str, Sequence[Any]]
"""Upstream block to its outputs as read back, in the order of the block's upstream_blocks."""


@dataclass
class Work:
    """A call, and what is made for it out of nothing but the call."""

    call: Call

    @cached_property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the block."""
        call = self.call
        return calling.block_kwargs(
            json.loads(call.variables),
            configuration=json.loads(call.configuration),
            pipeline=call.pipeline,
            block=call.block,
            project=call.project,
            attempt=call.attempt,
            templates=call.templates,
        )

    def prepare(self) -> None:
        """Make ahead what runs none of the block's code; what cannot be made is told when it is needed."""
        with suppress(Exception):
            calling.compiled(self.call.code.text, self.call.code.path)
        with suppress(Exception):
            _ = self.kwargs


class Execution:
    """Executes calls in this process, one after another."""

    def __init__(self) -> None:
        self._binding = Binding()

    def result_of(self, work: Work) -> Result:
        """Run a call to its end. Never raises: what the block raises comes back in the Result."""
        call = work.call
        try:
            self._binding.bind(call.project)
            with _memory_limit(call.memory_limit):
                return _MODES[call.mode](work)
        except BaseException as error:  # a boundary: a block may raise anything, SystemExit and signals included
            return failures.failed(call, error)
        finally:
            self._binding.note_imports()


def _run(work: Work) -> Result:
    call, kwargs = work.call, work.kwargs
    inputs = _inputs(call)
    for code in call.conditions:
        if not (verdict := _verdict(code, inputs, kwargs)):
            told = f"the condition {code.uuid} does not hold: {verdict.reason}"
            return Result(call.id, Outcome.CONDITION_FALSE, failure=failures.condition_false(told))
    if call.language == "sql":
        from headrace.blocks.sql import run_sql_block

        made = {given.block: json.loads(given.sql) for given in call.inputs if given.sql is not None}
        return _store(call, run_sql_block(call.code.text, inputs, kwargs["configuration"], kwargs, made))
    functions = calling.collect(call.code.text, call.code.path, call.block_type, inputs)
    if call.block_type == "sensor":
        return _look(call, functions, inputs, kwargs)
    returned = _together(calling.call_block(functions, inputs, kwargs))
    return _tested(functions, returned, kwargs, _store(call, returned))


def _verdict(code: CodeRef, inputs: Inputs, kwargs: Mapping[str, Any]) -> calling.Verdict:
    try:
        functions = calling.collect(code.text, code.path, "conditional", inputs)
        return calling.conditions_hold(functions, inputs, kwargs)
    except Exception as error:  # a boundary, as in Mage: a condition that raises is a condition that is false
        _log.exception("the condition %s raised: it counts as false", code.uuid)
        return calling.Verdict(False, f"it raised {type(error).__name__}: {error}")


def _look(call: Call, functions: Any, inputs: Inputs, kwargs: Mapping[str, Any]) -> Result:
    """A sensor's one look within a pipeline; between looks it holds no worker, and the service keeps its cursor."""
    place = {"pipeline": call.pipeline, "block": call.block, "run": call.run}
    has_cursor = call.run is not None and sensing.takes_cursor(calling.first_function(functions))
    cursor = sensing.cursor_from_json(ask("block_cursor", **place)) if has_cursor else None
    seen = sensing.call_sensor(functions, inputs, kwargs, cursor)
    if has_cursor and seen.cursor is not None:
        kept = json.loads(sensing.json_text(sensing.cursor_to_json(seen.cursor)))
        ask("keep_block_cursor", **place, cursor=kept, has_seen=bool(seen))
    if seen:
        return Result(call.id, Outcome.COMPLETED)
    return Result(call.id, Outcome.WAITING, wait=sensing.sensor_interval(functions, kwargs["configuration"]))


def _look_for_events(work: Work) -> Result:
    return looking.look(work.call, work.kwargs)


def _test(work: Work) -> Result:
    """Only the tests, on outputs that the block stored earlier."""
    call = work.call
    outputs = [decode_output(ref) for given in call.inputs for ref in given.outputs]
    functions = calling.collect(call.code.text, call.code.path, call.block_type, {})
    return _with_tests(Result(call.id, Outcome.COMPLETED), calling.run_tests(functions, outputs, work.kwargs))


def _callback(work: Work) -> Result:
    call = work.call
    functions = calling.collect(call.code.text, call.code.path, "callback", {})
    calling.call_callbacks(functions, call.outcome, _inputs(call), work.kwargs, call.error)
    return Result(call.id, Outcome.COMPLETED)


def _tested(functions: Any, returned: Sequence[Any], kwargs: Mapping[str, Any], result: Result) -> Result:
    """The result with its tests run, on the outputs as those downstream will read them."""
    if not calling.has_tests(functions):
        return result
    pairs = zip(returned, result.outputs, strict=True)
    outputs = [value if _reads_back_equal(value, stored) else decode_output(stored) for value, stored in pairs]
    return _with_tests(result, calling.run_tests(functions, outputs, kwargs))


def _reads_back_equal(value: Any, stored: Output) -> bool:
    """Arrow was chosen because it gives just this value back: to read a large frame again would only take time."""
    return stored.codec is Codec.ARROW or is_faithful_as_is(value)


def _with_tests(result: Result, report: Any) -> Result:
    return msgspec.structs.replace(result, tests_passed=report.passed, tests_failed=report.failed)


def _together(returned: Sequence[Any]) -> Sequence[Any]:
    """Very many values are one output, their list: the block below gets the same list either way."""
    return returned if len(returned) <= MOST_OUTPUTS else [list(returned)]


def _store(call: Call, returned: Sequence[Any]) -> Result:
    """Write all that a block returned; only so much travels in the answer, be the outputs ever so many."""
    outputs: list[Output] = []
    inline = previews = 0
    for place, value in enumerate(returned):
        output = _stored(call, place, value, call.inline_limit if inline < MOST_INLINE else 0)
        inline += len(output.inline or b"")
        previews += memoryview(output.preview).nbytes
        outputs.append(output if previews <= MOST_PREVIEWS else msgspec.structs.replace(output, preview=NO_PREVIEW))
    return Result(call.id, Outcome.COMPLETED, tuple(outputs))


def _stored(call: Call, index: int, value: Any, inline_limit: int) -> Output:
    name = f"{call.id}-{call.attempt}-{index}"
    return encode_output(value, call.output_folder, name, inline_limit, index)


def _inputs(call: Call) -> dict[str, list[Any]]:
    return {given.block: [decode_output(ref) for ref in given.outputs] for given in call.inputs}


@contextmanager
def _memory_limit(limit: int | None) -> Iterator[None]:
    """Let the call take `limit` bytes of address space beyond what the worker holds when it begins."""
    if limit is None:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb") as file:
        held = int(file.read().split(b" ", 1)[0]) * _PAGE
    most = held + limit if hard == resource.RLIM_INFINITY else min(held + limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


_MODES: dict[Mode, Callable[[Work], Result]] = {
    Mode.RUN: _run,
    Mode.LOOK: _look_for_events,
    Mode.TEST: _test,
    Mode.CALLBACK: _callback,
}
