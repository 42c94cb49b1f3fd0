"""The Jinja2 environment of all templates: reads what it is given, reaches nothing else, and cannot grow without bound.

A template is written by a project's author, the values in it often are not: attributes can be walked only on plain
values, and loops, repetition and output have caps that hold for one rendering.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_CHARACTERS = 1 << 20
"""Of a rendered template, and of any text made on the way."""
MOST_STEPS = 100_000
"""Rounds of all loops and calls of all macros of one rendering."""
MOST_WIDTH = 10_000
"""Of padding, indentation and the like."""
MOST_BITS = 4096
"""Of an integer made by multiplication or by a power."""

REFUSED_GLOBALS = ("lipsum", "cycler", "joiner", "namespace")
_PLAIN = (
    str, bytes, int, float, bool, Decimal, dict, list, tuple, set, frozenset, type(None), Undefined, LoopContext,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, Mapping,
)  # fmt: skip
"""Types whose public attributes a template may use."""
_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_WIDTHS = re.compile(r"\d{5,}|\*|\{[^{}]*\{")
"""In a format: a width of five digits or more, or one that is itself an argument."""

STEP = "__step"
JOIN = "__join"


class SandboxedEnvironment(ImmutableSandboxedEnvironment):
    """Immutable, sandboxed, strict about undefined names; see the module for what it caps."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        for name in REFUSED_GLOBALS:
            self.globals.pop(name, None)
        for name, check in _FILTER_CHECKS.items():
            self.filters[name] = _checked(self.filters[name], check)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only public attributes of plain values."""
        return isinstance(obj, _PLAIN) and not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse an operation whose result would be too large, before it is made."""
        _BINOP_CHECKS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuse a method of a text whose result would be too large, before it is called."""
        text = getattr(__obj, "__self__", None)
        if isinstance(text, str):
            _check_method(text, getattr(__obj, "__name__", ""), args)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The sandbox's own `str.format`, refusing a format whose result would be too large."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        sandboxed, text = wrapped, value.__self__

        def checked(*args: Any, **kwargs: Any) -> str:
            _check_format(text, *args, *kwargs.values())
            return sandboxed(*args, **kwargs)

        return checked

    def bounded(self, text: str) -> nodes.Template:
        """The syntax tree of a template in which loops, macros and concatenations count against the caps."""
        tree: nodes.Template = _Bounding(self).visit(self.parse(text))
        tree.set_environment(self)
        return tree


class Steps:
    """Counts the steps of one rendering."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self) -> str:
        self.taken += 1
        if self.taken > MOST_STEPS:
            raise SecurityError(f"its loops and macros take more than {MOST_STEPS} steps")
        return ""


def join(*parts: Any) -> str:
    """The `~` operator, with a cap on what it makes."""
    texts = [str(part) for part in parts]
    _check_size(sum(map(len, texts)))
    return "".join(texts)


class _Bounding(NodeTransformer):
    def __init__(self, environment: SandboxedEnvironment) -> None:
        self.environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._stepping(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._stepping(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._stepping(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call(JOIN, node.nodes, node.lineno)

    def _stepping(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.Output([_call(STEP, [], node.lineno)], lineno=node.lineno))
        return node


def _call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load", lineno=line), arguments, [], None, None, lineno=line)


def _check_size(size: int) -> None:
    if size > MOST_CHARACTERS:
        raise SecurityError(f"it makes more than {MOST_CHARACTERS} characters")


def _check_width(*widths: Any) -> None:
    if any(isinstance(width, int) and width > MOST_WIDTH for width in widths):
        raise SecurityError(f"a width is more than {MOST_WIDTH}")


def _check_indent(text: Any, width: Any = 4, *_: Any) -> None:
    size = len(width) if isinstance(width, str) else width
    _check_size((str(text).count("\n") + 1) * size)


def _check_wrap(text: Any, *args: Any) -> None:
    longest = max((len(arg) for arg in args if isinstance(arg, str)), default=1)
    _check_size(len(str(text)) * (longest + 1))


def _check_format(text: Any, *values: Any) -> None:
    if isinstance(text, str | bytes) and _WIDTHS.search(text if isinstance(text, str) else text.decode("latin-1")):
        raise SecurityError("a format's width is too large, or is an argument")
    _check_size(len(str(text)) + sum(len(value) for value in values if isinstance(value, str)))


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, str | bytes | list | tuple):
        _check_size(len(left) + (len(right) if hasattr(right, "__len__") else 0))


def _check_product(left: Any, right: Any) -> None:
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | bytes | list | tuple) and isinstance(times, int):
            _check_size(len(many) * max(times, 0))
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))


def _check_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise SecurityError(f"a number has more than {MOST_BITS} bits")


def _check_replacement(text: Any, old: Any, new: Any, *_: Any) -> None:
    whole = str(text)
    _check_size(len(whole) + whole.count(str(old)) * len(str(new)))


def _check_join(parts: Any, between: Any = "", *_: Any) -> None:
    if isinstance(parts, list | tuple | str | range):
        _check_size(sum(len(str(part)) for part in parts) + len(parts) * len(str(between)))


def _check_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    if name in _PADDING:
        _check_width(*args)
    elif name == "replace" and len(args) > 1:
        _check_replacement(text, *args)
    elif name == "join" and args:
        _check_join(args[0], text)


_BINOP_CHECKS: Mapping[str, Callable[[Any, Any], None]] = {
    "+": _check_sum,
    "*": _check_product,
    "**": _check_power,
    "%": lambda left, right: _check_format(left) if isinstance(left, str | bytes) else None,
}
_FILTER_CHECKS: Mapping[str, Callable[..., None]] = {
    "format": _check_format,
    "center": lambda text, *args: _check_width(*args),
    "indent": _check_indent,
    "wordwrap": _check_wrap,
    "batch": lambda items, *args: _check_width(*args),
    "slice": lambda items, *args: _check_width(*args),
    "replace": _check_replacement,
    "join": _check_join,
}
_TAKES_ENVIRONMENT = "jinja_pass_arg"


def _checked(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """A filter that runs `check` on its arguments first; Jinja2's own first argument, where it has one, stays."""
    passed = getattr(function, _TAKES_ENVIRONMENT, None)

    def checked(*args: Any, **kwargs: Any) -> Any:
        own = list(args[1:] if passed is not None else args)
        if own and isinstance(own[0], Iterable) and not isinstance(own[0], str | list | tuple | range | Mapping):
            own[0] = list(own[0])
        check(*own, *kwargs.values())
        return function(*(args[:1] if passed is not None else ()), *own, **kwargs)

    if passed is not None:
        setattr(checked, _TAKES_ENVIRONMENT, passed)
    return checked
