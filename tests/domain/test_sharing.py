"""How services share sensors out: each its part, nothing left over, and nothing handed to and fro."""

from __future__ import annotations

from uuid import UUID

import pytest
from headrace.domain.sharing import Sharing, Standing

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def standing(sensors: int, held: int, free: int, *services: UUID) -> Standing:
    return Standing(sensors, free, dict.fromkeys(range(held), 1), frozenset({ONE, *services}))


@pytest.mark.parametrize(
    ("sensors", "services", "share"), [(9, (), 9), (9, (TWO,), 5), (9, (TWO, THREE), 3), (10, (TWO, THREE), 4), (1, (TWO, THREE), 1)]
)  # fmt: skip
def test_the_shares_hold_all_that_there_is(sensors: int, services: tuple[UUID, ...], share: int):
    seen = standing(sensors, 0, sensors, *services)
    assert seen.share == share
    assert seen.share * len(seen.services) >= sensors


def test_a_service_takes_its_share_and_no_more():
    sharing = Sharing(patience=10)
    assert sharing.room(standing(9, 0, 9, TWO, THREE), 0.0) == 3
    assert sharing.room(standing(9, 2, 1, TWO, THREE), 1.0) == 1
    assert sharing.room(standing(9, 3, 4, TWO, THREE), 2.0) == 0


def test_what_is_left_over_for_long_is_taken_by_anybody():
    sharing = Sharing(patience=10)
    assert sharing.room(standing(9, 3, 6, TWO, THREE), 0.0) == 0
    assert sharing.room(standing(9, 3, 6, TWO, THREE), 10.0) == 0
    assert sharing.room(standing(9, 3, 6, TWO, THREE), 10.1) == 6


def test_patience_begins_anew_once_nothing_is_left_over():
    sharing = Sharing(patience=10)
    sharing.room(standing(9, 3, 6, TWO, THREE), 0.0)
    sharing.room(standing(9, 3, 0, TWO, THREE), 9.0)
    assert sharing.room(standing(9, 3, 6, TWO, THREE), 10.1) == 0


def test_only_a_service_that_joins_gets_what_another_has_beyond_its_share():
    sharing = Sharing(patience=10)
    assert sharing.beyond(standing(9, 9, 0, TWO)) == 0  # as it found them
    assert sharing.beyond(standing(9, 9, 0, TWO)) == 0
    assert sharing.beyond(standing(9, 9, 0)) == 0
    assert sharing.beyond(standing(9, 9, 0, TWO, THREE)) == 6
    assert sharing.beyond(standing(9, 9, 0, TWO, THREE)) == 0


def test_a_service_that_comes_back_joins_again():
    sharing = Sharing(patience=10)
    assert sharing.beyond(standing(8, 8, 0)) == 0
    assert sharing.beyond(standing(8, 8, 0, TWO)) == 4
    assert sharing.beyond(standing(8, 8, 0)) == 0
    assert sharing.beyond(standing(8, 8, 0, TWO)) == 4
