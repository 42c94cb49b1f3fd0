"""Files that arrive: told once for each version, and only when whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from headrace.blocks import context
from headrace.blocks.event import Event
from headrace.sensors import file_arrival


class Looks:
    """One look after another, as a service makes them."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self.cursor: Any = None

    def __call__(self) -> list[Event]:
        events, cursor = file_arrival(self.cursor, **self._settings)
        self.cursor = self.cursor if cursor is None else cursor
        return events

    def names(self) -> list[str]:
        return [str(event.payload["name"]) for event in self()]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    context.set_project(str(tmp_path))
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def test_a_file_is_told_once_it_has_stopped_growing(inbox: Path) -> None:
    look = Looks(path="inbox/*.csv")
    (inbox / "a.csv").write_text("1")
    assert look.names() == []
    (inbox / "a.csv").write_text("1,2")
    assert look.names() == []
    (event,) = look()
    assert event.payload == {
        "path": str(inbox / "a.csv"), "name": "a.csv", "size": 3, "modified": event.occurred_at,
    }  # fmt: skip
    assert look() == []


def test_an_empty_file_and_one_of_another_pattern_are_not_told(inbox: Path) -> None:
    look = Looks(path="inbox/*.csv", stable=False)
    (inbox / "a.csv").touch()
    (inbox / "b.txt").write_text("1")
    (inbox / "c.csv").mkdir()
    assert look() == []


def test_a_file_that_is_replaced_is_told_again_under_another_key(inbox: Path) -> None:
    look = Looks(path="inbox/*", stable=False)
    (inbox / "a").write_text("1")
    (first,) = look()
    os.utime(inbox / "a", ns=(1, 1))
    (second,) = look()
    assert first.key != second.key


def test_the_cursor_forgets_files_that_are_gone(inbox: Path) -> None:
    look = Looks(path="inbox/*", stable=False)
    for number in range(3):
        (inbox / f"{number}").write_text("1")
    assert look.names() == ["0", "1", "2"]
    for number in range(3):
        (inbox / f"{number}").unlink()
    assert look() == []
    assert look.cursor == {"told": {}, "seen": {}}


def test_nothing_new_leaves_the_cursor_where_it_is(inbox: Path) -> None:
    (inbox / "a").write_text("1")
    _, cursor = file_arrival(None, path="inbox/*", stable=False)
    assert file_arrival(cursor, path="inbox/*", stable=False) == ([], None)


def test_an_object_of_a_store_is_told_at_once(inbox: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/headrace-test/in/a.json", b"{}")
    try:
        (event,) = Looks(path="memory://headrace-test/in/*.json")()
    finally:
        store.rm("/headrace-test", recursive=True)
    assert event.payload["path"] == "memory:///headrace-test/in/a.json"
    assert event.payload["size"] == 2
