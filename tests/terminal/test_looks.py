"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.terminal.looks import GLYPHS, counted, duration, size


def test_every_status_has_a_glyph_of_its_own():
    assert set(GLYPHS) == {*RunStatus, *BlockStatus}
    assert len({sign for sign, _ in GLYPHS.values()}) == len(GLYPHS)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0 ms"), (0.0004, "0 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"),
     (119.7, "2 min 0 s"), (3599.6, "1 h 0 min"), (90_000, "25 h 0 min")],
)  # fmt: skip
def test_a_duration_is_told_in_a_unit_that_fits(seconds, told):
    start = datetime(2021, 1, 1, tzinfo=UTC)
    assert duration(start, start + timedelta(seconds=seconds)) == told


def test_what_has_not_begun_takes_no_time():
    assert duration(None, None) == ""


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (52_400_000, "52.4 MB"),
                        (3 * 10**12, "3e+03 GB")],
)  # fmt: skip
def test_a_size_is_told_in_a_unit_that_fits(count, told):
    assert size(count) == told


def test_one_is_not_many():
    assert [counted(number, "row") for number in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
