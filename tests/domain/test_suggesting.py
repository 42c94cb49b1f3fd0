"""What a person probably meant by a name that is not known."""

from __future__ import annotations

import pytest
from headrace.domain.suggesting import did_you_mean, suggestion


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("laod", ("load", "export"), "Did you mean load?"),
        ("LOAD", ("load", "reload"), "Did you mean load?"),
        ("load_c", ("load_a", "load_b", "other"), "Did you mean load_a or load_b?"),
        ("zzz", ("load",), ""),
        ("load", (), ""),
        ("", ("load",), ""),
    ],
)
def test_only_what_is_close_is_suggested(name, known, told):
    assert did_you_mean(name, known) == told


def test_a_long_list_of_names_is_cut():
    told = suggestion("b", [f"block_{n}" for n in range(40)], "Its blocks")
    assert told.startswith("Its blocks: block_0, block_1, ")
    assert told.endswith("block_11 and 28 more.")
    assert suggestion("b", [], "Its blocks") == "Its blocks: none."
