"""The gates of a run that is about to be made: those of its project, pipeline and trigger, and that of its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.blocks.templating import render
from headrace.domain.limits import Gate, gates_of
from headrace.domain.moments import revived
from headrace.domain.pipeline import Pipeline


def run_gates(
    project_id: int,
    pipeline: Pipeline,
    variables: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    trigger: int | None = None,
    trigger_cap: int | None = None,
) -> tuple[Gate, ...]:
    """The gates that a run passes before it starts. Raises TemplateError where its key cannot be rendered.

    `trigger_cap` is the trigger's own limit, which stands above the pipeline's.
    """
    return gates_of(
        project_id,
        pipeline.uuid,
        pipeline.run_limits,
        key=_key(pipeline, variables, environ),
        trigger=trigger,
        trigger_cap=trigger_cap,
    )


def _key(pipeline: Pipeline, variables: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    template = pipeline.run_limits.key
    if template is None:
        return None
    given = {name: revived(value) for name, value in {**pipeline.variables, **variables}.items()}
    return render(template, environ=environ, variables=given, names=given).strip() or None
