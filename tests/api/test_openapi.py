"""The description of the API holds for what the service answers, tried by hundreds of requests made from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from headrace.api.app import ROUTES
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode

from tests.support.api import Api

EXAMPLES = 10
ENDLESS = {"follow_run", "follow_runs"}
"""Operations whose answers do not end by themselves."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", list(GenerationMode))
async def test_answers_are_as_described_and_none_is_a_fault_of_ours(api: Api, mode: GenerationMode):
    run = (await api.post("/api/v1/runs", {"pipeline": "orders"}))["id"]
    described = await api.get("/api/v1/openapi.json")
    token = {"Authorization": api.client.headers["Authorization"]}

    def ask() -> set[str]:
        schema = schemathesis.openapi.from_dict(described)
        schema.config.update(base_url=api.url)
        operations = [found.ok() for found in schema.get_all_operations()]
        return {name for operation in operations if (name := asked(operation, mode, token, run))}

    assert await asyncio.to_thread(ask) == {route.name for route in ROUTES} - ENDLESS


def asked(operation: Any, mode: GenerationMode, token: dict[str, str], run: int) -> str | None:
    """Ask an operation some requests, each answer checked against its description; its name."""
    name: str = operation.definition.raw["operationId"]
    if name in ENDLESS:
        return None
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        return name

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        if mode is GenerationMode.POSITIVE and "run" in (case.path_parameters or {}):
            case.path_parameters["run"] = run
        for name in [name for name in case.headers or {} if name.lower() == "host"]:
            del case.headers[name]  # another name is another server: what it answers is no matter of this description
        case.call_and_validate(headers=token)

    check()
    return name
