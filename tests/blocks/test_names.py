"""Names of tables and columns: what cleaning does to them, and which words Postgres reserves."""

from __future__ import annotations

import pytest
from headrace.blocks.io.names import LONGEST, RESERVED, clean_name, fitting, listed, quoted
from headrace.io import Postgres

from tests.support.profiles import write_profile


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("VendorID", "vendorid"),
        ("PULocationID", "pulocationid"),
        ("Total amount ($)", "total_amount___"),
        ("\ufeffid", "id"),
        ('"a"\n', "a"),
        ("2nd", "letter_2nd"),
        ("größe", "größe"),
        ("a.b-c", "a_b_c"),
        ("type", "_type"),
        ("User", "_user"),
        ("name", "name"),
    ],
)
def test_a_name_is_cleaned(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_case_and_reserved_words_are_kept_when_asked_for() -> None:
    assert clean_name("Order Nr", case_sensitive=True) == "Order_Nr"
    assert clean_name("Order", case_sensitive=True) == "_Order"
    assert clean_name("order", allow_reserved=True) == "order"


def test_the_reserved_words_are_those_of_the_server_and_type(empty_database_url, tmp_path) -> None:
    with Postgres.with_config(write_profile(tmp_path, empty_database_url), verbose=False) as db:
        words = set(db.load("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")["word"])
    # Which of the two are reserved depends on the server's version.
    assert words | {"system_user", "analyse"} == RESERVED - {"type"} | {"system_user", "analyse"}


def test_a_long_name_is_shortened_and_stays_its_own() -> None:
    names = [fitting("ä" * 40 + end) for end in "ab"]
    assert all(len(name.encode()) <= LONGEST for name in names)
    assert names[0] != names[1]
    assert fitting("short") == "short"


def test_identifiers_are_quoted() -> None:
    assert quoted("a", 'b"c') == '"a"."b""c"'
    assert listed(["a", "B"]) == '"a", "B"'
