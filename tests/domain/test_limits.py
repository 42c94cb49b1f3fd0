"""Admission through gates, against a small independent model."""

from __future__ import annotations

from headrace.domain.limits import Candidate, Gate, RunLimits, admit, gates_of
from hypothesis import given
from hypothesis import strategies as st


def candidate(run: int, *gates: tuple[str, int]) -> Candidate:
    return Candidate(run, tuple(Gate(*gate) for gate in gates))


def test_a_full_gate_parks_a_run_and_those_behind_it_pass() -> None:
    decided = admit([candidate(1, ("a", 1)), candidate(2, ("a", 1)), candidate(3, ("b", 1))], {})
    assert [admitted.run for admitted in decided.admitted] == [1, 3]
    assert decided.parked == {2: "a"}


def test_those_admitted_before_count() -> None:
    assert admit([candidate(1, ("a", 2))], {"a": 2}).parked == {1: "a"}
    assert admit([candidate(1, ("a", 2))], {"a": 1}).parked == {}


def test_a_run_parked_at_one_gate_takes_no_place_at_another() -> None:
    decided = admit([candidate(1, ("a", 1), ("b", 1)), candidate(2, ("a", 1))], {"b": 1})
    assert decided.parked == {1: "b"}
    assert [admitted.run for admitted in decided.admitted] == [2]


GATES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)


@given(st.lists(GATES, max_size=12), st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4)), st.data())
def test_no_limit_is_passed_and_nobody_waits_at_a_gate_with_room(
    wanted: list[list[str]], caps: dict[str, int], data: st.DataObject
) -> None:
    cap = {name: caps.get(name, 2) for name in "abcd"}
    active = {name: data.draw(st.integers(0, cap[name])) for name in "abcd"}
    candidates = [candidate(run, *((name, cap[name]) for name in names)) for run, names in enumerate(wanted)]
    decided = admit(candidates, active)
    counts = dict(active)
    for admitted in decided.admitted:
        for gate in admitted.gates:
            counts[gate.name] += 1
    assert all(counts[name] <= max(cap[name], active[name]) for name in "abcd")
    assert all(counts[gate] >= cap[gate] for gate in decided.parked.values())
    assert {admitted.run for admitted in decided.admitted} | set(decided.parked) == set(range(len(wanted)))


def test_the_gates_of_a_run_are_those_that_have_a_limit() -> None:
    limits = RunLimits(project=9, runs=4, per_trigger=3, key="{{ x }}", per_key=2)
    assert gates_of(1, "p", limits, key="acme", trigger=7) == (
        Gate("project:1", 9), Gate("pipeline:1/p", 4), Gate("trigger:7", 3), Gate("key:1/p/acme", 2),
    )  # fmt: skip
    assert gates_of(1, "p", limits, trigger=7, trigger_cap=1)[2] == Gate("trigger:7", 1)
    assert gates_of(1, "p", RunLimits(), key=None) == ()
