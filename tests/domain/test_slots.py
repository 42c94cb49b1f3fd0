"""Slots are granted in order, never beyond a pool's size, and nobody waits for ever."""

from __future__ import annotations

from headrace.domain.slots import SlotRequest, grant_slots
from hypothesis import given
from hypothesis import strategies as st


def request(run: int, **slots: int) -> SlotRequest:
    return SlotRequest((run, "b"), slots)


def runs(granted: list[SlotRequest]) -> list[int]:
    return [item.holder[0] for item in granted]


def test_those_who_fit_get_theirs_in_order() -> None:
    assert runs(grant_slots([request(1, db=1), request(2, db=1), request(3, db=1)], {"db": 1}, {"db": 3})) == [1, 2]


def test_nobody_passes_one_that_waits_for_the_same_pool() -> None:
    waiting = [request(1, db=2), request(2, db=1), request(3, api=1)]
    assert runs(grant_slots(waiting, {"db": 2}, {"db": 3, "api": 1})) == [3]


def test_all_slots_of_a_request_are_granted_at_once_or_none() -> None:
    assert runs(grant_slots([request(1, db=1, api=1)], {"api": 1}, {"db": 1, "api": 1})) == []


def test_a_request_for_more_than_there_is_gets_an_empty_pool() -> None:
    assert runs(grant_slots([request(1, db=9)], {}, {"db": 3})) == [1]
    assert runs(grant_slots([request(1, db=9)], {"db": 1}, {"db": 3})) == []


def test_a_pool_without_a_size_has_no_bound() -> None:
    assert runs(grant_slots([request(n, gone=5) for n in range(4)], {"gone": 9}, {})) == [0, 1, 2, 3]


NEEDS = st.dictionaries(st.sampled_from("abc"), st.integers(1, 2), min_size=1)


@given(st.lists(NEEDS, max_size=10), st.dictionaries(st.sampled_from("abc"), st.integers(2, 4)), st.data())
def test_no_pool_is_overdrawn_and_the_first_that_waits_always_gets_on(
    needs: list[dict[str, int]], sizes: dict[str, int], data: st.DataObject
) -> None:
    taken = {name: data.draw(st.integers(0, size)) for name, size in sizes.items()}
    waiting = [SlotRequest((number, "b"), slots) for number, slots in enumerate(needs)]
    granted = grant_slots(waiting, taken, sizes)
    used = dict(taken)
    for item in granted:
        for name, count in item.slots.items():
            used[name] = used.get(name, 0) + count
    assert all(used.get(name, 0) <= size for name, size in sizes.items())
    if waiting and not any(taken.get(name) for name in waiting[0].slots):
        assert granted[0] is waiting[0]
