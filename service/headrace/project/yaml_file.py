"""Reads a YAML file of a project safely, and knows the line of each key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headrace.project.faults import Fault, ProjectFault

MOST_BYTES = 5 << 20
MOST_NODES = 500_000
"""Nodes that a document may have once its aliases are written out."""


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A parsed file: its value and, by path of keys, its nodes."""

    file: str
    value: dict[str, Any]
    root: yaml.Node | None

    def line(self, *path: str | int) -> int | None:
        """The line (from 1) of the value at a path of keys and positions, or of the nearest that exists."""
        node, line = self.root, None
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            node, line = found[1], found[0].start_mark.line + 1
        return line


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def read_text(path: Path, file: str) -> str:
    """A file's text. Raises ProjectFault when it is missing, too large or not UTF-8."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ProjectFault([Fault(file, None, "", f"the file is larger than {MOST_BYTES >> 20} MiB.", "Split it.")])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProjectFault([Fault(file, None, "", f"cannot be read: {error.strerror}.")]) from error
    except UnicodeDecodeError as error:
        raise ProjectFault([Fault(file, None, "", "is not UTF-8 text.", "Save it as UTF-8.")]) from error


def parse(text: str, file: str) -> YamlFile:
    """A YAML mapping. Raises ProjectFault for invalid YAML, Python tags, alias bombs and anything but a mapping."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_size(root, file)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProjectFault([_yaml_fault(error, file)]) from error
    except RecursionError as error:
        raise ProjectFault([Fault(file, None, "", "is nested too deeply.")]) from error
    if value is None:
        return YamlFile(file, {}, root)
    if not isinstance(value, dict):
        raise ProjectFault([Fault(file, 1, "", "must be a mapping of keys to values.", "Write `key: value` lines.")])
    return YamlFile(file, {str(key): item for key, item in value.items()}, root)


def _yaml_fault(error: yaml.YAMLError, file: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return Fault(file, mark.line + 1 if mark else None, "", f"is not valid YAML: {problem}.", "Correct the syntax.")


def _check_size(root: yaml.Node | None, file: str) -> None:
    """Refuse documents whose aliases would write out to a great many nodes; counts without writing them out."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int = 0) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 1  # a node within itself counts once
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in _children(node))
        return sizes[id(node)]

    if root is not None and size(root) > MOST_NODES:
        raise ProjectFault(
            [
                Fault(
                    file,
                    1,
                    "",
                    f"its aliases write out to more than {MOST_NODES} values.",
                    "Remove the aliases (&, *).",
                )
            ]
        )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
