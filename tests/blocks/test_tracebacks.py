"""Tracebacks: what of an error and its causes an author of blocks gets to see."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from headrace.blocks.tracebacks import format_without_ours, user_frames
from headrace.domain.errors import HeadraceError

BLOCK = "/project/block.py"


def raised(text: str, **names: Any) -> BaseException:
    """What code of a block raises."""
    with pytest.raises(Exception) as caught:
        exec(compile(text, BLOCK, "exec"), names)  # noqa: S102 - as a worker does
    return caught.value


def wrapped(work: Any) -> None:
    try:
        work()
    except Exception as error:
        raise HeadraceError("it did not work, because of something") from error


def of_a_library() -> None:
    json.loads("{")


def test_what_a_library_raised_within_ours_is_left_out() -> None:
    told = format_without_ours(raised("wrapped(of_a_library)", wrapped=wrapped, of_a_library=of_a_library), __file__)
    assert "JSONDecodeError" not in told
    assert told.count("Traceback") == 1
    assert "it did not work" in told


class Cached:
    @functools.cached_property
    def value(self) -> None:
        raise HeadraceError("no template")


def test_a_cached_property_of_ours_shows_no_frame() -> None:
    error = raised("read()", read=lambda: Cached().value)
    assert [frame[0] for frame in user_frames(error, __file__)] == [BLOCK]
    assert "functools" not in format_without_ours(error, __file__)


def test_what_the_users_own_code_raised_stays() -> None:
    told = format_without_ours(raised("wrapped(lambda: 1 / 0)", wrapped=wrapped), __file__)
    assert "ZeroDivisionError" in told
    assert told.count(f'File "{BLOCK}", line 1') == 2


def test_causes_of_the_users_errors_stay() -> None:
    text = "import json\ntry: json.loads('{')\nexcept ValueError as error: raise KeyError('k') from error\n"
    assert "JSONDecodeError" in format_without_ours(raised(text), __file__)


def test_the_place_of_a_syntax_error_is_its_last_frame() -> None:
    error = raised("compile('x = = 1', '/project/other.py', 'exec')")
    assert user_frames(error, __file__)[-1][:2] == ("/project/other.py", 1)
