"""One server for each module of tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.shell import Shell, shell_with_server


@pytest.fixture(scope="module")
def headrace() -> Iterator[Shell]:
    """`headrace` in a project's folder, with its server running."""
    with shell_with_server() as shell:
        yield shell
