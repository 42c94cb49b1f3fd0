"""Mage's addresses of API triggers: its bodies, its answers, and its errors of status 200."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from headrace.domain.scopes import Scope

from tests.support.api import Api
from tests.support.projects import write_pipeline
from tests.support.triggers import write_triggers

TOKEN = "4506463a01944ef492f70005996dac1a"
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00")


@pytest.fixture
async def trigger(api: Api) -> int:
    """The id of an API trigger with a token in its file."""
    given = {"name": "mage", "schedule_type": "api", "token": TOKEN}
    write_triggers(api.headrace.project.root, "orders", [given])
    await api.served.intake.book.look()
    (found,) = (await api.get("/api/v1/triggers"))["items"]
    return found["id"]


async def call(
    api: Api, path: str, body: Any = b"", token: str | None = None, status: int = 200, **headers: str
) -> Any:
    given = {"Authorization": "" if token is None else f"Bearer {token}", **headers}
    async with api.client.post(f"{api.url}/api/pipeline_schedules/{path}", data=body, headers=given) as answer:
        assert answer.status == status
        return await answer.json()


async def test_a_run_is_made_and_told_in_mages_form(api: Api, trigger: int):
    body = b'{"pipeline_run": {"variables": {"env": "dev", "n": 1}}, "colour": "red", "n": 2}'
    told = (await call(api, f"{trigger}/pipeline_runs/{TOKEN}", body))["pipeline_run"]
    moments = {name: told.pop(name) for name in ("created_at", "updated_at", "execution_date")}
    assert all(MOMENT.fullmatch(moment) for moment in moments.values())
    run = told.pop("id")
    assert told == {
        "pipeline_schedule_id": trigger, "pipeline_uuid": "orders", "status": "initial", "started_at": None,
        "completed_at": None, "variables": {"env": "dev", "n": 1}, "passed_sla": False,
        "event_variables": {"colour": "red", "n": 2}, "metrics": None, "backfill_id": None,
        "executor_type": "local_python",
    }  # fmt: skip
    variables = (await api.get(f"/api/v1/runs/{run}"))["variables"]
    assert variables == {
        "env": "dev", "n": 1, "colour": "red", "event": {"colour": "red", "n": 2}, "trigger_name": "mage",
    }  # fmt: skip


async def test_what_the_pipeline_and_the_trigger_name_is_changed_by_pipeline_run_alone(api: Api, trigger: int):
    root = api.headrace.project.root
    write_pipeline(root, "orders", {"a": ()}, options={"variables": {"p": "pipeline", "q": "pipeline"}})
    own = {"t": "trigger", "u": "trigger"}
    write_triggers(root, "orders", [{"name": "mage", "schedule_type": "api", "token": TOKEN, "variables": own}])
    await api.served.intake.book.look()
    body = {"pipeline_run": {"variables": {"q": "run", "u": "run"}}, **dict.fromkeys("pqtux", "event")}
    told = await call(api, f"{trigger}/pipeline_runs/{TOKEN}", json.dumps(body).encode())
    variables = (await api.get(f"/api/v1/runs/{told['pipeline_run']['id']}"))["variables"]
    assert variables.pop("event") == dict.fromkeys("pqtux", "event")
    assert variables == {"q": "run", "t": "trigger", "u": "run", "x": "event", "trigger_name": "mage"}


async def test_the_token_may_come_as_bearer_and_from_an_address_of_another_installation(api: Api, trigger: int):
    told = await call(api, f"{trigger}/api_trigger", b"{}", TOKEN)
    assert told["pipeline_run"]["pipeline_schedule_id"] == trigger
    told = await call(api, f"9999/pipeline_runs/{TOKEN}")
    assert told["pipeline_run"]["pipeline_schedule_id"] == trigger
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl says of --data
    told = await call(api, f"{trigger}/api_trigger", b'{"env": "dev"}', TOKEN, **form)
    assert told["pipeline_run"]["event_variables"] == {"env": "dev"}


async def test_a_token_of_headrace_does_where_it_may_run(api: Api, trigger: int):
    for scope, good in ((Scope.RUN, True), (Scope.READ, False)):
        token = (await api.token(scope, name=scope))["Authorization"].removeprefix("Bearer ")
        assert ("pipeline_run" in await call(api, f"{trigger}/api_trigger", b"", token)) is good


async def test_a_token_that_was_made_by_the_api_does_until_the_next_one(api: Api, trigger: int):
    first = await api.post(f"/api/v1/triggers/{trigger}/token")
    assert "pipeline_run" in await call(api, f"{trigger}/pipeline_runs/{first['token']}")
    second = await api.post(f"/api/v1/triggers/{trigger}/token")
    assert second["address"] == f"/api/pipeline_schedules/{trigger}/pipeline_runs/{second['token']}"
    assert "error" in await call(api, f"{trigger}/pipeline_runs/{first['token']}")
    assert "pipeline_run" in await call(api, f"{trigger}/api_trigger", b"", second["token"])


@pytest.mark.parametrize(
    ("path", "token", "body", "code"),
    [
        ("{0}/pipeline_runs/wrong", None, b"", 401),
        ("{0}/pipeline_runs/%20", None, b"", 401),
        ("{0}/api_trigger", None, b"", 401),
        ("{0}/api_trigger", "wrong", b"", 401),
        ("{0}/pipeline_runs/" + TOKEN, None, b"{", 400),
        ("{0}/pipeline_runs/" + TOKEN, None, b"[1]", 400),
        ("{0}/pipeline_runs/" + TOKEN, None, b'{"pipeline_run": {"variables": 5}}', 400),
    ],
)
async def test_an_error_is_an_answer_of_status_200_in_mages_form(
    api: Api, trigger: int, path: str, token: str | None, body: bytes, code: int
):
    told = await call(api, path.format(trigger), body, token)
    assert told["error"]["code"] == code
    assert set(told["error"]) == {"code", "message", "type"}
    assert (await api.get("/api/v1/runs"))["items"] == []


async def test_a_call_that_is_left_out_makes_no_run_and_says_why(api: Api, trigger: int):
    given = {"name": "mage", "schedule_type": "api", "token": TOKEN, "settings": {"skip_if_previous_running": True}}
    write_triggers(api.headrace.project.root, "orders", [given])
    await api.served.intake.book.look()
    assert "pipeline_run" in await call(api, f"{trigger}/pipeline_runs/{TOKEN}")
    told = await call(api, f"{trigger}/pipeline_runs/{TOKEN}")
    assert (told["error"]["code"], told["error"]["type"]) == (409, "no_run")


async def test_one_key_calls_once_and_without_a_key_every_call_counts(api: Api, trigger: int):
    key = {"Idempotency-Key": "k"}
    ids = [(await call(api, f"{trigger}/pipeline_runs/{TOKEN}", **key))["pipeline_run"]["id"] for _ in range(3)]
    assert len(set(ids)) == 1
    other = [(await call(api, f"{trigger}/pipeline_runs/{TOKEN}"))["pipeline_run"]["id"] for _ in range(2)]
    assert len({*ids, *other}) == 3


async def test_too_large_a_body_is_told_by_its_status(api: Api, trigger: int):
    told = await call(api, f"{trigger}/pipeline_runs/{TOKEN}", io.BytesIO(b"x" * ((10 << 20) + 1)), status=413)
    assert told["code"] == "body-too-large"
