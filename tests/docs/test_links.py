"""What the documents point at is there, and each promise names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.documents import links_in

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_to_a_file(document: Path):
    for target in links_in(document):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_path_of_this_repository_that_is_named_is_there(document: Path):
    tops = {path.name for path in ROOT.iterdir()}
    for name in re.findall(r"`([\w.-]+/[\w./-]*)`", document.read_text()):
        if name.partition("/")[0] in tops and document.name != "tutorial.md":
            assert (ROOT / name).exists(), name


def promises() -> list[str]:
    """The promises, each with the tests it names."""
    text = (ROOT / "docs" / "guarantees.md").read_text().partition("## What is not promised")[0]
    return re.split(r"^- ", text, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise.partition("**")[2].partition(".")[0])
def test_every_promise_names_tests_that_are_there(promise: str):
    files = [ROOT / name for name in re.findall(r"`(tests/[\w/]+\.py)`", promise)]
    tests = re.findall(r"`(test_\w+)`", promise)
    assert files
    defined = "".join(file.read_text() for file in files)
    for test in tests:
        assert f"def {test}(" in defined, test


def test_the_page_on_development_names_every_room_of_the_package():
    rooms = {path.parent.name for path in (ROOT / "service" / "headrace").glob("*/__init__.py")}
    text = (ROOT / "docs" / "development.md").read_text()
    assert set(re.findall(r"^\| `(\w+)/` \|", text, flags=re.MULTILINE)) == rooms
