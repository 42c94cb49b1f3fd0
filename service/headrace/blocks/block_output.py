"""`{{ block_output('uuid', parse=lambda data, variables: …) }}` in the text of a block.

What stands in these braces is Python, because Jinja has no `lambda`. It is the project's own code and runs where its
blocks run. Its value takes its place before the rest of the text is rendered.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from headrace.blocks.sql_faults import SqlBlockFault

Inputs = Mapping[str, Sequence[Any]]
_START = re.compile(r"\{\{-?\s*(?=block_output\s*\()")
_END = re.compile(r"\s*-?\}\}")
_LIBRARIES = {"datetime": datetime, "json": json, "math": math}


def placed(text: str, inputs: Inputs, variables: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The text with a plain name in place of each call of block_output, and the values of those names.

    Raises SqlBlockFault, with the line, for what is not Python or raises.
    """
    return _replaced(text, _Source(inputs, variables).value_of)


def without_calls(text: str) -> str:
    """The text with a plain name in place of each call of block_output; none is made. Raises SqlBlockFault."""
    return _replaced(text, lambda _code, _line: None)[0]


def _replaced(text: str, value_of: Callable[[CodeType, int], Any]) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}
    end = 0
    while found := _START.search(text, end):
        line = text.count("\n", 0, found.start()) + 1
        code, after = _expression(text, found.end(), line)
        name = f"block_output_{len(values) + 1}"
        values[name] = value_of(code, line)
        # Line breaks stay within the braces: they end with the rendering, and errors of it name the right line.
        parts += [text[end : found.start()], "{{ ", name, "\n" * text.count("\n", found.start(), after), " }}"]
        end = after
    return "".join([*parts, text[end:]]), values


def _expression(text: str, start: int, line: int) -> tuple[CodeType, int]:
    """The Python expression that begins at `start`, up to the first braces at which it is whole, and their end."""
    told = "it has no end"
    for end in _END.finditer(text, start):
        try:
            return compile(text[start : end.start()].strip(), f"<block_output, line {line}>", "eval"), end.end()
        except SyntaxError as error:
            told = error.msg
    raise SqlBlockFault(f"The block_output on line {line} is not Python: {told}.", line=line)


@dataclass(frozen=True)
class _Source:
    """What block_output gives, for one block."""

    inputs: Inputs
    variables: Mapping[str, Any]

    def value_of(self, code: CodeType, line: int) -> Any:
        try:
            return eval(code, {**_LIBRARIES, "block_output": self.block_output})  # noqa: S307 - the project's own code
        except Exception as error:  # a boundary: the user's expression may raise anything
            raise SqlBlockFault(
                f"The block_output on line {line} raised {type(error).__name__}: {error}.",
                line=line,
                remedy="`parse` takes the output and the variables: parse=lambda data, variables: data.",
            ) from error

    def block_output(self, block_uuid: str | None = None, parse: Callable[[Any, Any], Any] | None = None) -> Any:
        """One upstream block's output, else all of them: by name, or as a list in their order for `parse`."""
        if block_uuid is not None:
            value = self._output(block_uuid)
        elif parse is None:
            value = {uuid: _one(outputs) for uuid, outputs in self.inputs.items()}
        else:
            value = [_records(_one(outputs)) for outputs in self.inputs.values()]
        return value if parse is None else parse(value, self.variables)

    def _output(self, uuid: str) -> Any:
        if uuid not in self.inputs:
            known = ", ".join(self.inputs) or "none"
            raise LookupError(f"there is no upstream block {uuid} (upstream blocks: {known})")
        return _one(self.inputs[uuid])


def _one(outputs: Sequence[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else list(outputs)


def _records(value: Any) -> Any:
    return value.to_dict("records") if type(value).__name__ == "DataFrame" else value
