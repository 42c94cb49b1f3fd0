"""`domain.advance`: each rule by itself, and random histories against a small model that shares no code with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from headrace.domain.advance import advance
from headrace.domain.errors import IllegalTransition
from headrace.domain.pipeline import Block, BlockType, Pipeline
from headrace.domain.retry import RetryPolicy
from headrace.domain.run import (
    Begun,
    BlockOutcome,
    CallBack,
    CalledBack,
    CancelAsked,
    Ended,
    Ending,
    EndRun,
    Enqueue,
    RunState,
    RunTimedOut,
    Started,
    Stop,
    TakenOver,
    fresh_run,
)
from headrace.domain.statuses import BLOCK_TERMINAL, RUN_TERMINAL, BlockStatus, RunStatus
from hypothesis import given, settings
from hypothesis import strategies as st


def pipeline_of(edges: dict[str, tuple[str, ...]], **options) -> Pipeline:
    retry = options.pop("retry", RetryPolicy())
    blocks = tuple(Block(uuid, BlockType.CUSTOM, upstream=upstream, retry=retry) for uuid, upstream in edges.items())
    return Pipeline("p", blocks=blocks, **options)


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def after(run: RunState, *facts) -> RunState:
    for fact in facts:
        run = advance(run, fact).run
    return run


def ended(block: str, outcome: BlockOutcome = BlockOutcome.COMPLETED, attempt: int = 1, **more) -> Ended:
    return Ended(block, attempt, outcome, **more)


def statuses(run: RunState) -> dict[str, str]:
    return {uuid: str(state.status) for uuid, state in run.blocks.items()}


def test_roots_are_queued_when_a_run_begins():
    step = advance(fresh_run(pipeline_of(DIAMOND)), Begun())
    assert step.commands == (Enqueue("a"),)
    assert step.changed == ("a",)


def test_every_block_right_after_a_completed_one_is_queued_at_once():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"))
    step = advance(run, ended("a"))
    assert set(step.commands) == {Enqueue("b"), Enqueue("c")}


def test_a_join_waits_for_all_of_its_upstream_blocks():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"), ended("a"), Started("b"), Started("c"))
    run = after(run, ended("b"))
    assert statuses(run)["d"] == "initial"
    assert statuses(after(run, ended("c")))["d"] == "queued"


def test_a_run_completes_with_its_last_block():
    run = after(fresh_run(pipeline_of({"a": ()})), Begun(), Started("a"))
    step = advance(run, ended("a"))
    assert step.commands == (EndRun(RunStatus.COMPLETED),)


def test_an_empty_run_completes_at_once():
    assert advance(fresh_run(pipeline_of({})), Begun()).run.status is RunStatus.COMPLETED


def test_a_failure_ends_the_run_and_stops_what_runs():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"), ended("a"), Started("b"), Started("c"))
    step = advance(run, ended("b", BlockOutcome.FAILED))
    assert step.commands == (Stop("c"),)
    assert statuses(step.run) == {"a": "completed", "b": "failed", "c": "running", "d": "upstream_failed"}
    assert after(step.run, ended("c", BlockOutcome.STOPPED)).status is RunStatus.FAILED


def test_independent_branches_finish_where_blocks_may_fail():
    pipeline = pipeline_of(DIAMOND, allow_blocks_to_fail=True)
    run = after(fresh_run(pipeline), Begun(), Started("a"), ended("a"), Started("b"), Started("c"))
    run = after(run, ended("b", BlockOutcome.FAILED))
    assert statuses(run)["c"] == "running"
    run = after(run, ended("c"))
    assert statuses(run) == {"a": "completed", "b": "failed", "c": "completed", "d": "upstream_failed"}
    assert run.status is RunStatus.FAILED


def test_a_failed_block_is_tried_again_after_the_policy_s_delay_and_no_oftener():
    pipeline = pipeline_of({"a": ()}, retry=RetryPolicy(count=2, delay=10, factor=3, cap=20))
    run = after(fresh_run(pipeline), Begun(), Started("a"))
    step = advance(run, ended("a", BlockOutcome.FAILED, now=100.0))
    assert step.commands == (Enqueue("a", 110.0),)
    run = after(step.run, Started("a"))
    step = advance(run, ended("a", BlockOutcome.FAILED, attempt=2, now=200.0))
    assert step.commands == (Enqueue("a", 220.0),), "the cap holds for one delay"
    run = after(step.run, Started("a"), ended("a", BlockOutcome.FAILED, attempt=3))
    assert run.status is RunStatus.FAILED


def test_what_trying_again_cannot_mend_is_not_tried_again():
    pipeline = pipeline_of({"a": ()}, retry=RetryPolicy(count=5))
    run = after(fresh_run(pipeline), Begun(), Started("a"), ended("a", BlockOutcome.REFUSED))
    assert run.status is RunStatus.FAILED


def test_a_condition_that_does_not_hold_leaves_out_the_block_and_its_descendants_and_the_run_completes():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"), ended("a"), Started("b"), Started("c"))
    run = after(run, ended("b", BlockOutcome.CONDITION_FALSE), ended("c"))
    assert statuses(run)["b"] == statuses(run)["d"] == "condition_failed"
    assert run.status is RunStatus.COMPLETED


def test_a_waiting_sensor_is_queued_and_goes_on_with_the_same_attempt():
    run = after(fresh_run(pipeline_of({"s": ()})), Begun(), Started("s"))
    step = advance(run, ended("s", BlockOutcome.WAITING, now=50.0, wait=5.0))
    assert step.commands == (Enqueue("s", 55.0),)
    run = after(step.run, Started("s"))
    assert run.blocks["s"].attempt == 1


def test_cancel_drops_what_waits_and_stops_what_runs():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"))
    step = advance(run, CancelAsked())
    assert step.commands == (Stop("a"),)
    run = after(step.run, ended("a", BlockOutcome.STOPPED))
    assert set(statuses(run).values()) == {"cancelled"}
    assert run.status is RunStatus.CANCELLED


def test_a_block_that_completed_before_the_stop_reached_it_stays_completed():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"), CancelAsked(), ended("a"))
    assert statuses(run)["a"] == "completed"
    assert run.status is RunStatus.CANCELLED


def test_a_run_cancelled_before_it_began_ends_at_once():
    assert after(fresh_run(pipeline_of(DIAMOND)), CancelAsked()).status is RunStatus.CANCELLED


def test_a_run_that_passes_its_time_limit_fails():
    run = after(fresh_run(pipeline_of({"a": ()})), Begun(), Started("a"), RunTimedOut())
    assert after(run, ended("a", BlockOutcome.STOPPED)).status is RunStatus.FAILED


def test_blocks_that_ran_when_a_service_was_lost_run_again_and_others_stay():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"), ended("a"), Started("b"))
    step = advance(run, TakenOver())
    assert set(step.commands) == {Enqueue("b"), Enqueue("c")}
    assert statuses(step.run)["a"] == "completed"
    assert step.run.blocks["b"].failures == 0
    assert after(step.run, Started("b")).blocks["b"].attempt == 2


def test_a_takeover_of_a_run_that_was_being_cancelled_ends_it():
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"), CancelAsked(), TakenOver())
    assert run.status is RunStatus.CANCELLED


def test_a_run_ends_only_after_its_callbacks_were_called():
    callback = Block("c", BlockType.CALLBACK, upstream=("a",))
    pipeline = pipeline_of({"a": ()}, callbacks=(callback,))
    run = after(fresh_run(pipeline), Begun(), Started("a"))
    step = advance(run, ended("a"))
    assert step.commands == (CallBack("a"),)
    assert advance(step.run, TakenOver()).commands == (CallBack("a"),)
    assert after(step.run, CalledBack("a")).status is RunStatus.COMPLETED


def test_kept_blocks_are_not_run_again():
    run = after(fresh_run(pipeline_of(DIAMOND), kept=frozenset({"a", "b"})), Begun())
    assert statuses(run) == {"a": "completed", "b": "completed", "c": "queued", "d": "initial"}


@pytest.mark.parametrize("fact", [Started("b"), ended("a", attempt=2), ended("b"), CalledBack("a"), Begun()])
def test_facts_that_cannot_be_true_are_refused(fact):
    run = after(fresh_run(pipeline_of(DIAMOND)), Begun(), Started("a"))
    with pytest.raises(IllegalTransition):
        advance(run, fact)


def test_an_ended_run_takes_in_nothing():
    run = after(fresh_run(pipeline_of({})), Begun())
    with pytest.raises(IllegalTransition):
        advance(run, CancelAsked())


@dataclass
class Model:
    """What a run should come to, told by block outcomes alone: a different way of saying the same rules."""

    edges: dict[str, tuple[str, ...]]
    allow: bool
    done: dict[str, str] = field(default_factory=dict)
    cancelled: bool = False

    def runnable(self, uuid: str) -> bool:
        return all(self.done.get(above) == "completed" for above in self.edges[uuid])

    def doomed(self, uuid: str) -> set[str]:
        """How a block that was never started may have ended: by any of the ends above it."""
        ends: set[str] = set()
        for above in self.edges[uuid]:
            ends |= {self.done[above]} if above in self.done else self.doomed(above)
        spread = {"condition_failed": "condition_failed", "failed": "upstream_failed"}
        return {spread.get(end, end) for end in ends if end != "completed"}

    def final(self) -> str:
        if self.cancelled:
            return "cancelled"
        return "failed" if "failed" in self.done.values() else "completed"


@st.composite
def graphs(draw) -> dict[str, tuple[str, ...]]:
    size = draw(st.integers(1, 8))
    edges: dict[str, tuple[str, ...]] = {}
    for number in range(size):
        above = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        edges[f"b{number}"] = tuple(f"b{index}" for index in above)
    return edges


@settings(max_examples=300, deadline=None)
@given(graphs(), st.booleans(), st.integers(0, 2), st.integers(0, 2**32))
def test_random_histories_agree_with_the_model(edges, allow, retries, seed):
    chance = random.Random(seed)
    pipeline = pipeline_of(edges, allow_blocks_to_fail=allow, retry=RetryPolicy(count=retries))
    model = Model(edges, allow)
    run = after(fresh_run(pipeline), Begun())
    failures = dict.fromkeys(edges, 0)
    for _ in range(1000):
        if run.status in RUN_TERMINAL:
            break
        running = [u for u, s in run.blocks.items() if s.status is BlockStatus.RUNNING]
        queued = [u for u, s in run.blocks.items() if s.status is BlockStatus.QUEUED]
        for uuid in (*running, *queued):
            assert model.runnable(uuid), f"{uuid} was started before its upstream blocks completed"
        if chance.random() < 0.03 and run.ending is None:
            model.cancelled = True
            run = after(run, CancelAsked())
        elif chance.random() < 0.05:
            run = after(run, TakenOver())
        elif queued and (not running or chance.random() < 0.5):
            run = after(run, Started(chance.choice(queued)))
        elif running:
            uuid = chance.choice(running)
            outcome = chance.choice(["completed", "completed", "failed", "condition_false", "stopped"])
            if outcome == "stopped" and run.ending is None:
                continue
            run = after(run, ended(uuid, BlockOutcome(outcome), attempt=run.blocks[uuid].attempt))
            if outcome == "failed":
                failures[uuid] += 1
                if failures[uuid] > retries or run.blocks[uuid].status is BlockStatus.FAILED:
                    model.done[uuid] = "failed"
            elif outcome != "stopped":
                model.done[uuid] = {"completed": "completed", "condition_false": "condition_failed"}[outcome]
    assert run.status in RUN_TERMINAL, "the run never ended"
    assert run.status == model.final()
    assert all(state.status in BLOCK_TERMINAL for state in run.blocks.values())
    for uuid, state in run.blocks.items():
        if uuid in model.done:
            assert state.status == model.done[uuid]
        elif not model.cancelled and run.ending is not Ending.FAILED:
            assert state.status in model.doomed(uuid)
        else:
            assert state.status in {"cancelled", "upstream_failed", "condition_failed"}
        assert state.failures <= retries + 1


def test_takeover_at_every_point_of_a_history_changes_nothing_about_its_end():
    facts = [Begun(), Started("a"), ended("a"), Started("b"), ended("b"), Started("c"), ended("c"), Started("d")]
    for cut in range(1, len(facts) + 1):
        run = after(after(fresh_run(pipeline_of(DIAMOND)), *facts[:cut]), TakenOver())
        for _ in range(10):
            if run.status in RUN_TERMINAL:
                break
            queued = next(u for u, s in run.blocks.items() if s.status is BlockStatus.QUEUED)
            run = after(run, Started(queued))
            run = after(run, ended(queued, attempt=run.blocks[queued].attempt))
        assert run.status is RunStatus.COMPLETED
