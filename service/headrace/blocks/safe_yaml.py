"""Reads YAML that nobody vouches for: plain values, bounded in size, depth and alias expansion, with line numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from headrace.domain.errors import HeadraceError

MOST_BYTES = 5_000_000
MOST_DEPTH = 60
MOST_ALIASED = 100_000
"""Nodes that aliases may stand for, all together."""

_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(
    _CORE + name
    for name in ("null", "bool", "int", "float", "str", "seq", "map", "set", "timestamp", "binary", "omap", "pairs")
)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlFault(HeadraceError):
    """A text is not YAML that we read. `line` counts from 1."""

    code = "bad-yaml"

    def __init__(self, message: str, *, line: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.line = line


@dataclass(frozen=True)
class Document:
    """A YAML text's value, and where its parts stand."""

    value: Any
    root: yaml.Node | None = field(repr=False, default=None)

    def line(self, *path: str | int) -> int | None:
        """The line of the key or item that `path` leads to, or of the nearest one on the way there."""
        node, found = self.root, None if self.root is None else _line(self.root)
        for step in path:
            place = _step(node, step)
            if place is None:
                return found
            found, node = place
        return found

    def end(self, *path: str | int) -> int | None:
        """The last line of the value that `path` leads to."""
        node = self.root
        for step in path:
            place = _step(node, step)
            if place is None:
                return None
            node = place[1]
        return None if node is None else node.end_mark.line + (1 if node.end_mark.column else 0)

    def repeated_keys(self) -> Iterator[tuple[str, int]]:
        """Keys that stand twice in one mapping, with the line of the second."""
        waiting, seen = [self.root] if self.root is not None else [], set[int]()
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                yield from _repeated(node)
                waiting.extend(value for _, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                waiting.extend(node.value)


def read_yaml(text: str) -> Document:
    """The value of a YAML text. Raises YamlFault, with the line, for all that is not plain bounded YAML."""
    if len(text) > MOST_BYTES or len(text.encode(errors="replace")) > MOST_BYTES:
        raise YamlFault(f"It has more than {MOST_BYTES} bytes.", remedy="Split it, or move what is large elsewhere.")
    try:
        _guard(text)
        root = yaml.compose(text, _LOADER)
        value = None if root is None else yaml.SafeLoader("").construct_document(root)
    except yaml.YAMLError as error:
        raise _bad(error) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise YamlFault(f"One of its values cannot be read: {error}.", remedy="Quote it to make it text.") from error
    return Document(value, root)


def _bad(error: yaml.YAMLError) -> YamlFault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return YamlFault(
        f"It is not valid YAML: {problem}.",
        line=None if mark is None else mark.line + 1,
        remedy="Check indentation, and put values with {{ }} or a colon in quotes.",
    )


class _Guard:
    """Follows the events of a text, and refuses it before anything is built from it."""

    def __init__(self) -> None:
        self.open: list[tuple[str | None, int]] = []
        self.sizes: dict[str, int] = {}
        self.count = 0
        self.aliased = 0

    def take(self, event: yaml.Event) -> None:
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor), line)
        elif isinstance(event, yaml.CollectionStartEvent):
            _check_tag(event, line)
            self._open(event.anchor, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.open.pop()
            self._close(anchor, before)
        elif isinstance(event, yaml.ScalarEvent):
            _check_tag(event, line)
            self.count += 1
            self._close(event.anchor, self.count - 1)

    def _open(self, anchor: str | None, line: int) -> None:
        self.open.append((anchor, self.count))
        self.count += 1
        if anchor is not None:
            self.sizes.pop(anchor, None)
        if len(self.open) > MOST_DEPTH:
            raise YamlFault(f"It is nested more than {MOST_DEPTH} deep.", line=line)

    def _close(self, anchor: str | None, before: int) -> None:
        if anchor is not None:
            self.sizes[anchor] = self.count - before

    def _alias(self, anchor: str, line: int) -> None:
        if any(anchor == name for name, _ in self.open) and anchor not in self.sizes:
            raise YamlFault(f"The alias *{anchor} stands inside of what it names.", line=line)
        size = self.sizes.get(anchor, 1)
        self.count += size
        self.aliased += size
        if self.aliased > MOST_ALIASED:
            raise YamlFault(
                f"Its aliases stand for more than {MOST_ALIASED} values.", line=line, remedy="Write it without anchors."
            )


def _guard(text: str) -> None:
    guard = _Guard()
    for event in yaml.parse(text, _LOADER):
        guard.take(event)


def _check_tag(event: yaml.NodeEvent, line: int) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None and tag != "!" and tag not in _TAGS:
        shown = tag.replace(_CORE, "!!")
        raise YamlFault(f"The tag {shown} is refused.", line=line, remedy="Only plain values are read.")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _step(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return _line(node.value[step]), node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return _line(key), value
    return None


def _repeated(node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            continue
        if key.value in seen:
            yield key.value, _line(key)
        seen.add(key.value)
