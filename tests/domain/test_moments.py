"""Moments among JSON values are told apart from whatever anybody sends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from headrace.domain.moments import revived, shielded, told, written
from headrace.project.plain import plain
from hypothesis import given
from hypothesis import strategies as st

MOMENT = datetime(2026, 3, 1, 5, tzinfo=UTC)
NAMES = st.sampled_from(["$datetime", "$verbatim", "a"])
SENT = st.recursive(
    st.none() | st.integers() | st.sampled_from(["nope", MOMENT.isoformat(), "{{ key }}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=12,
)


@given(SENT)
def test_whatever_is_sent_is_read_as_it_was_sent(sent: Any) -> None:
    assert revived(shielded(sent)) == revived(plain(sent)) == told(shielded(sent)) == sent


@given(SENT)
def test_a_moment_beside_it_is_read_as_a_moment(sent: Any) -> None:
    kept = {"sent": shielded(sent), "at": [written(MOMENT)]}
    assert revived(kept) == {"sent": sent, "at": [MOMENT]}
    assert told(kept) == {"sent": sent, "at": [MOMENT.isoformat()]}
    assert revived(plain({"sent": sent, "at": [MOMENT]})) == {"sent": sent, "at": [MOMENT]}


@pytest.mark.parametrize("value", [{"$datetime": "nope"}, {"$datetime": 5}, {"$verbatim": 5}])
def test_what_was_never_written_by_us_is_left_as_it_is(value: Any) -> None:
    assert revived(value) == value


def test_a_payload_without_marks_is_not_copied() -> None:
    sent = {"a": [{"b": 1}]}
    assert shielded(sent) is sent
