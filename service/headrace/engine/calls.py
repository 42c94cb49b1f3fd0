"""Builds the calls that workers get: which source, which inputs, which variables."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from headrace.domain.moments import written
from headrace.domain.pipeline import Block, BlockLanguage, Pipeline
from headrace.store.runs import ClaimedRun
from headrace.worker.protocol import Call, CodeRef, Input, Mode, OutputRef

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class CallVariables:
    """Keyword arguments as JSON, and which of them are templates that a project's files say."""

    text: str
    templates: tuple[str, ...] = ()


def run_variables(pipeline: Pipeline, run: ClaimedRun) -> CallVariables:
    """The keyword arguments of every block of a run: pipeline's < run's < the run's own facts.

    A run's variables came from a payload, a call or a command line: they are never rendered.
    """
    date = run.execution_date.astimezone(UTC)
    facts = {
        "ds": date.strftime("%Y-%m-%d"),
        "hr": date.strftime("%H"),
        "env": "prod",
        "execution_date": written(date),
        "execution_partition": f"{run.id}/{date.strftime('%Y%m%dT%H%M%S')}",
        "pipeline_run_id": run.id,
    }
    variables = {"event": {}, **pipeline.variables, **run.variables, **facts}
    others = run.variables.keys() | facts.keys()
    own = {name: value for name, value in pipeline.variables.items() if name not in others}
    return CallVariables(json.dumps(variables), templates_among(own))


def templates_among(variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a project's own variables that are templates."""
    return tuple(name for name, value in variables.items() if isinstance(value, str) and "{{" in value)


def code_of(block: Block, project: str) -> CodeRef:
    """A block's pinned source under the absolute path that its tracebacks show."""
    source = block.source
    if source is None:
        return CodeRef(block.uuid, os.path.join(project, block.uuid), "")
    return CodeRef(block.uuid, os.path.join(project, source.path), source.text)


def block_call(
    block: Block,
    pipeline: Pipeline,
    *,
    project: str,
    run: int | None,
    attempt: int,
    refs: Mapping[str, tuple[OutputRef, ...]],
    variables: CallVariables,
    output_folder: str,
    mode: Mode = Mode.RUN,
) -> Call:
    """A call of a block's function, or (mode test) of its tests on its own last outputs."""
    sources = (block.uuid,) if mode is Mode.TEST else block.upstream
    return Call(
        id=next(_NUMBERS),
        mode=mode,
        project=project,
        pipeline=pipeline.uuid,
        block=block.uuid,
        block_type=block.type,
        language=block.language,
        code=code_of(block, project),
        inputs=tuple(_input(pipeline, uuid, refs[uuid]) for uuid in sources),
        conditions=tuple(code_of(condition, project) for condition in pipeline.conditions_of(block.uuid)),
        configuration=json.dumps(block.configuration),
        variables=variables.text,
        templates=variables.templates,
        run=run,
        attempt=attempt,
        output_folder=output_folder,
        memory_limit=block.memory_limit,
    )


def _input(pipeline: Pipeline, uuid: str, refs: tuple[OutputRef, ...]) -> Input:
    block = pipeline.by_uuid[uuid]
    return Input(uuid, refs, json.dumps(block.configuration) if block.language is BlockLanguage.SQL else None)


def callback_call(
    callback: Block,
    parent: Block,
    pipeline: Pipeline,
    *,
    project: str,
    run: int,
    outcome: str,
    error: str | None,
    refs: tuple[OutputRef, ...],
    variables: CallVariables,
    output_folder: str,
) -> Call:
    """A call of the callbacks in one callback block, for what became of `parent`."""
    return Call(
        id=next(_NUMBERS),
        mode=Mode.CALLBACK,
        project=project,
        pipeline=pipeline.uuid,
        block=parent.uuid,
        block_type=callback.type,
        language=callback.language,
        code=code_of(callback, project),
        inputs=(Input(parent.uuid, refs),),
        configuration=json.dumps(callback.configuration),
        variables=variables.text,
        templates=variables.templates,
        run=run,
        outcome=outcome,
        error=error,
        output_folder=output_folder,
    )


def at(seconds: float | None) -> datetime | None:
    """A time in seconds since the epoch as the database wants it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
