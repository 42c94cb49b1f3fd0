"""What others send reaches blocks as it was sent: no text of theirs is rendered, no mapping taken for a moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headrace.engine.values import shown_values

from tests.support.api import Api
from tests.support.projects import write_pipeline
from tests.support.triggers import webhook, write_triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

TELL = "@custom\ndef tell(*args, **kwargs):\n    return {name: repr(kwargs.get(name)) for name in kwargs['names']}\n"
EVIL = "{{ env_var('HOME') }}"
TOKEN = "5506463a01944ef492f70005996dac1b"


async def told(driven: Api, run: int) -> dict[str, str]:
    async with asyncio.timeout(30):
        view = await driven.headrace.finished(run)
    assert view.status == "completed", view
    (value,) = (await shown_values(driven.headrace.database, run, ["tell"]))["tell"]
    return dict(value)


def write(driven: Api, *triggers: dict[str, Any], **variables: Any) -> None:
    options = {"variables": {"names": list(variables.pop("names", ["n", "event"])), **variables}}
    write_pipeline(driven.headrace.project.root, "telling", {"tell": []}, {"tell": TELL}, options=options)
    write_triggers(driven.headrace.project.root, "telling", triggers)


async def test_a_payload_is_neither_rendered_nor_read(driven: Api):
    write(driven, webhook("foreign", variables={"n": "{{ event.n }}"}))
    await driven.served.intake.book.look()
    payload = {"n": EVIL, "at": {"$datetime": "nope"}, "then": {"$datetime": "2026-01-01T00:00:00+00:00"}}
    made = await driven.post("/hooks/foreign", payload, status=202)
    assert await told(driven, made["run"]) == {"n": repr(EVIL), "event": repr(payload)}


async def test_what_a_mage_call_gives_is_not_rendered(driven: Api):
    write(driven, {"name": "called", "schedule_type": "api", "token": TOKEN}, names=["n", "m"])
    await driven.served.intake.book.look()
    body = {"pipeline_run": {"variables": {"n": EVIL}}, "m": EVIL}
    made = await driven.post(f"/api/pipeline_schedules/1/pipeline_runs/{TOKEN}", body, status=200)
    assert await told(driven, made["pipeline_run"]["id"]) == {"n": repr(EVIL), "m": repr(EVIL)}


async def test_variables_of_a_start_are_not_rendered_and_those_of_the_file_are(
    driven: Api, monkeypatch: pytest.MonkeyPatch
):
    write(driven, names=["n", "own", "both", "at"], own="{{ variables('n') }}!", both="{{ 1 + 1 }}")
    given = {"n": EVIL, "both": EVIL, "at": {"$datetime": "nope"}}
    made = await driven.post("/api/v1/runs", {"pipeline": "telling", "variables": given})
    wanted = {"n": repr(EVIL), "own": repr(EVIL + "!"), "both": repr(EVIL), "at": repr({"$datetime": "nope"})}
    assert await told(driven, made["id"]) == wanted
    again = await driven.headrace.retry(made["id"])
    assert await told(driven, again) == wanted
