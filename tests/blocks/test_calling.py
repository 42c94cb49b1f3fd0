"""Mage's calling conventions, rule by rule."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import textwrap
from pathlib import Path
from typing import Any

import cloudpickle
import headrace
import pandas as pd
import pytest
from headrace.blocks import calling
from headrace.blocks.pipeline_run import with_run
from headrace.blocks.tracebacks import format_without_ours
from headrace.domain.errors import HeadraceError

PATH = "/project/transformers/clean_rows.py"


def collected(text: str, block_type: str = "transformer", inputs: dict[str, list[Any]] | None = None) -> Any:
    return calling.collect(textwrap.dedent(text), PATH, block_type, inputs or {})


def in_block(error: BaseException) -> list[tuple[str, int, str, str]]:
    return [frame for frame in calling.user_frames(error) if frame[0] == PATH]


def outputs(text: str, inputs: dict[str, list[Any]] | None = None, **kwargs: Any) -> list[Any]:
    return calling.call_block(collected(text, inputs=inputs), inputs or {}, kwargs)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "from headrace import transformer, test",
        "from headrace.blocks.decorators import transformer",
        "if 'transformer' not in globals():\n    from nowhere import transformer",
    ],
)
def test_a_decorator_marks_whether_it_is_injected_or_imported(line: str) -> None:
    assert outputs(f"{line}\n@transformer\ndef f():\n    return 7\n") == [7]


def test_outside_of_a_block_the_decorators_give_the_function_back() -> None:
    def f() -> int:
        return 1

    assert headrace.data_loader(f) is f
    assert headrace.sensor(interval=5)(f) is f
    assert headrace.callback("failure")(f) is f


def test_what_an_imported_module_marks_is_not_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "another_block_of_mine.py").write_text(
        "from headrace import transformer\n@transformer\ndef g():\n    return 'theirs'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = "import another_block_of_mine\n@transformer\ndef f():\n    return 'ours'\n"
    assert outputs(text) == ["ours"]


def test_only_the_first_decorated_function_runs() -> None:
    assert outputs("@transformer\ndef f():\n    return 1\n@transformer\ndef g():\n    return 2\n") == [1]


def test_preprocessers_run_first() -> None:
    text = """
    seen = []
    @transformer
    def f(x):
        return [seen]
    @preprocesser
    def p(x):
        seen.append(x)
    """
    assert outputs(text, {"up": [5]}) == [[5]]


def test_upstream_outputs_are_globals_under_uuid_and_number() -> None:
    text = "@transformer\ndef f(*args):\n    return {'sum': load_a + df_2[1]}\n"
    assert outputs(text, {"load_a": [1], "load_b": [2, 3]}) == [{"sum": 4}]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("None", []),
        ("[]", []),
        ("[[1, 2]]", [[1, 2]]),
        ("[1, 'x']", [1, "x"]),
        ("(1, None)", [1, None]),
        ("{'a': 1}", [{"a": 1}]),
        ("0", [0]),
        ("list(range(12))", list(range(12))),
    ],
)
def test_a_return_value_becomes_outputs(returned: str, expected: list[Any]) -> None:
    assert outputs(f"@transformer\ndef f():\n    return {returned}\n") == expected


@pytest.mark.parametrize(("given", "argument"), [([], []), ([7], 7), ([1, 2], [1, 2]), ([None], None)])
def test_an_upstream_blocks_outputs_become_one_argument(given: list[Any], argument: Any) -> None:
    assert outputs("@transformer\ndef f(x):\n    return {'x': x}\n", {"up": given}) == [{"x": argument}]


def test_arguments_come_in_the_order_of_upstream_blocks() -> None:
    text = "@transformer\ndef f(a, b, *more):\n    return {'all': (a, b, more)}\n"
    assert outputs(text, {"z": [1], "a": [2], "m": [3]}) == [{"all": (1, 2, (3,))}]


@pytest.mark.parametrize("signature", ["a, b", "a, b=1, **kwargs", "", "**kwargs", "*, a, b"])
def test_a_wrong_number_of_parameters_is_refused_and_names_both_sides(signature: str) -> None:
    with pytest.raises(calling.BlockArgumentsFault, match="upstream") as caught:
        outputs(f"@transformer\ndef shape({signature}):\n    pass\n", {"load_rows": [1]})
    assert "shape" in str(caught.value)
    assert "load_rows" in str(caught.value)


def test_kwargs_come_only_where_they_are_taken() -> None:
    assert outputs("@transformer\ndef f():\n    return 1\n", day="x") == [1]
    assert outputs("@transformer\ndef f(**kwargs):\n    return kwargs['day']\n", day="x") == ["x"]


def test_an_async_function_is_awaited_and_leaves_no_task_behind() -> None:
    text = """
    import asyncio
    left = []
    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            left.append('cancelled')
    @transformer
    async def f():
        asyncio.create_task(forever())
        await asyncio.sleep(0)
        return [left]
    """
    assert outputs(text) == [["cancelled"]]


def test_async_blocks_of_one_process_share_an_event_loop() -> None:
    text = "import asyncio\n@transformer\nasync def f():\n    return {'loop': id(asyncio.get_running_loop())}\n"
    assert outputs(text) == outputs(text)


def test_frames_that_are_yielded_become_one_frame() -> None:
    text = """
    import pandas as pd
    @transformer
    def f():
        for n in (1, 2):
            yield pd.DataFrame({'n': [n]}, index=[n * 10])
    """
    [frame] = outputs(text)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"n": [1, 2]}, index=[10, 20]))


@pytest.mark.parametrize("word", ["def", "async def"])
def test_other_values_that_are_yielded_become_one_list(word: str) -> None:
    assert outputs(f"@transformer\n{word} f():\n    yield 1\n    yield 'x'\n") == [[1, "x"]]


def test_a_generator_without_values_has_no_output() -> None:
    assert outputs("@transformer\ndef f():\n    return\n    yield\n") == []


def test_a_source_without_the_decorator_is_refused_and_names_file_and_decorator() -> None:
    with pytest.raises(calling.BlockSourceFault, match="@transformer") as caught:
        outputs("@data_loader\ndef f():\n    pass\n")
    assert PATH in str(caught.value)
    assert "@data_loader" in str(caught.value)
    assert caught.value.code == "no-decorated-function"


def test_a_syntax_error_tells_file_line_and_place() -> None:
    with pytest.raises(SyntaxError) as caught:
        collected("x = 1\ny = = 2\n")
    told = calling.format_without_ours(caught.value)
    assert f'File "{PATH}", line 2' in told
    assert "^" in told
    assert "blocks/calling.py" not in told
    assert calling.user_frames(caught.value)[-1][:2] == (PATH, 2)


def test_a_traceback_shows_the_pinned_source_and_libraries_but_not_us() -> None:
    text = "import pandas as pd\n@transformer\ndef f():\n    return pd.DataFrame({'a': [1]})['missing']\n"
    with pytest.raises(KeyError) as caught:
        outputs(text)
    told = calling.format_without_ours(caught.value)
    assert "return pd.DataFrame({'a': [1]})['missing']" in told
    assert "pandas" in told
    assert "blocks/calling.py" not in told
    assert in_block(caught.value)[0] == (PATH, 4, "f", "return pd.DataFrame({'a': [1]})['missing']")


def test_a_traceback_of_an_async_block_begins_with_the_users_line_and_keeps_the_cause() -> None:
    text = """
    @transformer
    async def f():
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise ValueError('wrapped') from error
    """
    with pytest.raises(ValueError, match="wrapped") as caught:
        outputs(text)
    told = calling.format_without_ours(caught.value)
    assert "ZeroDivisionError" in told
    assert "asyncio/" not in told
    assert in_block(caught.value)[0][:3] == (PATH, 7, "f")


def test_a_traceback_shows_the_version_that_ran() -> None:
    failing = "@transformer\ndef f():\n    raise ValueError({0})\n"
    for word in ("1", "2", "1"):
        with pytest.raises(ValueError, match=word) as caught:
            outputs(failing.format(word))
        assert in_block(caught.value)[0][3] == f"raise ValueError({word})"


def test_dataclasses_work_in_a_block_and_pickle_by_value() -> None:
    text = """
    from __future__ import annotations
    from dataclasses import dataclass
    @dataclass
    class Row:
        n: InitVar[int] = 1
    @transformer
    def f():
        return Row()
    """
    [row] = outputs(text)
    assert "Row" in repr(cloudpickle.loads(cloudpickle.dumps(row)))


def test_file_and_name_are_set() -> None:
    assert outputs("@transformer\ndef f():\n    return {'is': (__file__, __name__)}\n") == [
        {"is": (PATH, "block.clean_rows")}
    ]


TESTED = """
@transformer
def f():
    return 1
@test
def test_output(output, *args):
    assert output == 1, 'not one'
@test
def test_output(output, *args):
    assert output == 2, 'not two'
@test
def test_kwargs(*args, **kwargs):
    assert kwargs['day'] == 'x'
"""


def test_a_test_that_raises_tells_of_those_that_failed_before_it() -> None:
    with pytest.raises(KeyError) as caught:
        calling.run_tests(collected(TESTED), [3], {})
    told = format_without_ours(caught.value)
    assert "KeyError: 'day'" in told
    assert "not one" in told
    assert "not two" in told


def test_all_tests_run_the_same_named_too_and_a_failing_one_fails_the_block() -> None:
    with pytest.raises(calling.BlockTestsFailed, match=r"2 of 3 tests passed.*test_output.*line 10.*not two") as caught:
        calling.run_tests(collected(TESTED), [1], {"day": "x"})
    assert (caught.value.report.passed, caught.value.report.failed) == (2, 1)


def test_passing_tests_are_counted() -> None:
    report = calling.run_tests(collected(TESTED.replace("== 2", "== 1")), [1], {"day": "x"})
    assert (report.passed, report.failed, report.failures) == (3, 0, ())


def test_what_a_test_raises_beside_assertions_is_raised_at_once() -> None:
    with pytest.raises(KeyError, match="day"):
        calling.run_tests(collected(TESTED), [1], {})


def test_a_test_that_needs_an_output_which_is_not_there_says_so() -> None:
    with pytest.raises(calling.BlockArgumentsFault, match="0 outputs"):
        calling.run_tests(collected(TESTED), [], {"day": "x"})


@pytest.mark.parametrize(
    ("body", "met", "reason"),
    [
        ("return True", True, ""),
        ("return 0", False, "gave a false value"),
        ("return not kwargs['rows'] and x == 3", True, ""),
        ("raise OSError('disk')", False, "OSError: disk"),
    ],
)
def test_a_condition_holds_when_it_is_true_and_not_when_it_raises(body: str, met: bool, reason: str) -> None:
    found = collected(f"@condition\ndef ready(x, *args, **kwargs):\n    {body}\n", "conditional")
    verdict = calling.conditions_hold(found, {"up": [3]}, {"rows": 0})
    assert bool(verdict) is met
    assert reason in verdict.reason


def test_all_conditions_of_a_file_must_hold() -> None:
    text = "@condition\ndef a():\n    return True\n@condition\ndef b():\n    return False\n"
    assert "b gave a false value" in calling.conditions_hold(collected(text, "conditional"), {}, {}).reason


CALLBACKS = """
@callback
def bare(output, **kwargs):
    kwargs['told'].append(('bare', output, kwargs['parent_block_uuid']))
@callback('failure')
def failed(**kwargs):
    kwargs['told'].append(('failed', kwargs['__error'], kwargs['__input']))
@on_failure
def old(**kwargs):
    kwargs['told'].append(('old', kwargs['day']))
@callback('cancelled')
def cancelled(**kwargs):
    kwargs['told'].append(('cancelled', '__error' in kwargs))
"""


@pytest.mark.parametrize(
    ("outcome", "error", "expected"),
    [
        ("success", None, [("bare", 5, "up")]),
        ("failure", "boom", [("failed", "boom", {"up": 5}), ("old", "x")]),
        ("cancelled", None, [("cancelled", False)]),
    ],
)
def test_callbacks_of_an_outcome_run(outcome: str, error: str | None, expected: list[Any]) -> None:
    told: list[Any] = []
    calling.call_callbacks(collected(CALLBACKS, "callback"), outcome, {"up": [5]}, {"told": told, "day": "x"}, error)
    assert told == expected


def test_conditions_and_callbacks_know_the_run() -> None:
    text = (
        "@{0}\ndef f(**kwargs):\n    kwargs['told'].append((kwargs['pipeline_run'].id, kwargs['parent_block_uuid']))\n"
    )
    told: list[Any] = []
    kwargs = {"told": told, "pipeline_run_id": 7, "block_uuid": "up"}
    calling.conditions_hold(collected(text.format("condition"), "conditional"), {}, kwargs)
    calling.call_callbacks(collected(text.format("on_success"), "callback"), "success", {"up": []}, kwargs, None)
    assert told == [(7, "up"), (7, "up")]


def test_the_runs_variables_are_those_of_the_run_alone() -> None:
    kwargs = calling.block_kwargs({"n": 3}, configuration={}, pipeline="p", block="b", project="/p", attempt=1)
    assert with_run(kwargs, "b")["pipeline_run"].variables == {"n": 3, "env": "prod", "event": {}}


def test_a_callback_that_raises_does_not_stop_the_next() -> None:
    text = "@callback\ndef a():\n    raise OSError\n@callback\ndef b(**kwargs):\n    kwargs['told'].append(1)\n"
    told: list[int] = []
    with pytest.raises(OSError):
        calling.call_callbacks(collected(text, "callback"), "success", {"up": []}, {"told": told}, None)
    assert told == [1]


def test_the_logger_takes_any_keywords_as_mages_does(caplog: pytest.LogCaptureFixture) -> None:
    logger = calling.block_kwargs({}, configuration={}, pipeline="p", block="b", project="/p", attempt=1)["logger"]
    assert isinstance(logger, logging.Logger)
    with caplog.at_level(logging.INFO, "headrace.block"):
        logger.info("loaded", rows=3, share="100%", extra={"of": "python"})
        logger.warning("%s of %d", "a", 2, tags={"x": "50%"})
        logger.info("100% plain")
        try:
            raise KeyError("k")
        except KeyError:
            logger.exception("failed", key=1)
    assert caplog.messages == ["loaded rows=3 share='100%'", "a of 2 tags={'x': '50%'}", "100% plain", "failed key=1"]
    assert caplog.records[0].__dict__["of"] == "python"
    assert caplog.records[3].exc_info


def test_kwargs_have_the_runs_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "north")
    moment = "2026-03-01T05:00:00+00:00"
    kwargs = calling.block_kwargs(
        {"execution_date": {"$datetime": moment}, "place": "{{ env_var('REGION') }}-{{ variables('n') }}", "n": "{{ 1 }}"},
        templates=["place"], configuration={"x": 1}, pipeline="p", block="b", project="/project", attempt=2,
    )  # fmt: skip
    assert kwargs["execution_date"] == datetime.datetime.fromisoformat(moment)
    assert (kwargs["ds"], kwargs["hr"], kwargs["env"]) == ("2026-03-01", "05", "prod")
    assert (kwargs["place"], kwargs["n"]) == ("north-{{ 1 }}", "{{ 1 }}")
    assert kwargs["configuration"] == {"x": 1}
    assert kwargs["retry"] == {"attempts": 2}
    assert (kwargs["pipeline_uuid"], kwargs["block_uuid"], kwargs["repo_path"]) == ("p", "b", "/project")


def test_a_block_may_be_called_where_a_loop_runs_in_another_thread() -> None:
    async def main() -> list[Any]:
        return await asyncio.to_thread(outputs, "@transformer\nasync def f():\n    return 1\n")

    assert asyncio.run(main()) == [1]


def test_frames_of_ours_are_left_out() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        outputs("@transformer\nasync def f():\n    return 1 / 0\n")
    folder = os.path.dirname(calling.__file__)
    assert not [frame for frame in calling.user_frames(caught.value) if frame[0].startswith(folder)]


def test_every_fault_is_one_of_ours() -> None:
    for fault in (calling.BlockSourceFault, calling.BlockArgumentsFault, calling.BlockTestsFailed):
        assert issubclass(fault, HeadraceError)
        assert fault.code != HeadraceError.code
