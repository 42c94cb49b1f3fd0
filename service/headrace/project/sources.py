"""Checks the source of a Python block without running it: its syntax, its decorator, the profiles that it names."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headrace.domain.pipeline import Block, BlockLanguage, BlockType
from headrace.project.faults import Fault, Severity

_OTHER_NAMES: Mapping[BlockType, tuple[str, ...]] = {
    BlockType.CONDITIONAL: ("condition",),
    BlockType.CALLBACK: ("callback", "on_success", "on_failure"),
}


@dataclass(frozen=True, slots=True)
class ProfileUse:
    """A place that names a connection profile."""

    profile: str
    file: str
    line: int | None
    words: frozenset[str] = frozenset()
    """Texts and names in the source: a setting that is none of them is not read by its name there."""


def parse_source(text: str, file: str) -> ast.Module | Fault:
    """A Python source's tree, or the fault that keeps it from having one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, filename=file)
    except SyntaxError as error:
        line, told = error.lineno, error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        line, told = None, str(error) or type(error).__name__
    return Fault(file, line, "", f"This is not valid Python: {told}.", "Mend the syntax.")


def check_source(block: Block) -> tuple[list[Fault], list[ProfileUse]]:
    """The faults of a block's Python source, and the profiles that it names."""
    if block.language is not BlockLanguage.PYTHON or block.source is None:
        return [], []
    tree = parse_source(block.source.text, block.source.path)
    if isinstance(tree, Fault):
        return [tree], []
    return _check_decorator(tree, block, block.source.path), list(_profiles(tree, block.source.path))


def _check_decorator(tree: ast.Module, block: Block, file: str) -> list[Fault]:
    wanted = _OTHER_NAMES.get(block.type, (str(block.type),))
    names = set(wanted) | _aliases(tree, wanted)
    lines = sorted(line for name, line in _marks(tree) if name in names)
    shown = f"@{wanted[0]}"
    if not lines:
        told = f"No function of block {block.uuid} is marked with {shown}."
        return [Fault(file, _first_function(tree), shown, told, f"Write {shown} in the line above its function.")]
    if len(lines) > 1 and block.type not in _OTHER_NAMES:
        told = f"Block {block.uuid} has {len(lines)} functions marked with {shown}; only the first one runs."
        return [Fault(file, lines[1], shown, told, "Call the others from it.", Severity.WARNING)]
    return [] if block.type in _OTHER_NAMES or block.type is BlockType.SENSOR else _check_parameters(tree, block, names)


def _first_function(tree: ast.Module) -> int:
    lines = [node.lineno for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return min(lines, default=1)


def _check_parameters(tree: ast.Module, block: Block, names: set[str]) -> list[Fault]:
    """A function that cannot take what the block's upstream blocks give; other decorators may change what it takes."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.decorator_list) != 1:
            continue
        if _called_name(node.decorator_list[0]) in names:
            return _parameter_faults(node, block)
    return []


def _parameter_faults(node: ast.FunctionDef | ast.AsyncFunctionDef, block: Block) -> list[Fault]:
    taken = node.args
    named = [each.arg for each in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
    given = len(block.upstream)
    if block.source is None or len(named) == given or (len(named) < given and taken.vararg is not None):
        return []
    told = (
        f"{node.name} takes {len(named)} upstream outputs ({', '.join(named) or 'none'}), but block {block.uuid} has "
        f"{given} upstream blocks ({', '.join(block.upstream) or 'none'})."
    )
    remedy = "Each named parameter takes one upstream block's output; variables come through **kwargs."
    return [Fault(block.source.path, node.lineno, node.name, told, remedy)]


def _aliases(tree: ast.Module, wanted: tuple[str, ...]) -> set[str]:
    """Other names under which the source imports the decorator."""
    return {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in wanted and alias.asname
    }


def _marks(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names and lines of what marks a function: decorators, and plain calls of one argument or more."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from ((_called_name(decorator), decorator.lineno) for decorator in node.decorator_list)
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
            yield _called_name(node.value.func), node.lineno


def _called_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _called_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _profiles(tree: ast.Module, file: str) -> Iterator[ProfileUse]:
    """Texts that are given to a name with `profile` in it, by assignment or as an argument, or to ConfigFileLoader."""
    words = frozenset(_words(tree))
    for node in ast.walk(tree):
        for value in _profile_values(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield ProfileUse(value.value, file, value.lineno, words)


def _words(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _profile_values(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is not None and any(map(_is_profile, targets)):
            yield node.value
    elif isinstance(node, ast.Call):
        yield from (word.value for word in node.keywords if word.arg and "profile" in word.arg.lower())
        if _called_name(node) == "ConfigFileLoader":
            yield from node.args[1:2]


def _is_profile(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and "profile" in target.id.lower()
