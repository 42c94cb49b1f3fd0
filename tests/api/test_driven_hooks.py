"""Webhooks whose runs are driven: senders that wait for the outcome."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.projects import write_pipeline
from tests.support.triggers import write_triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOUBLE = "@custom\ndef double(*args, **kwargs):\n    return {'twice': 2 * kwargs['event']['n']}\n"
TABLE = "import pandas as pd\n@custom\ndef table(*args, **kwargs):\n    return pd.DataFrame({'n': [1, 2]})\n"
SLEEP = "import time\n@custom\ndef nap(*args, **kwargs):\n    time.sleep(kwargs['event']['n'])\n"


async def listen(api: Api, pipeline: str, **keys: Any) -> None:
    hook = {"path": pipeline, "preset": "none", **keys}
    write_triggers(
        api.headrace.project.root, pipeline, [{"name": pipeline, "schedule_type": "webhook", "webhook": hook}]
    )
    await api.served.intake.book.look()


async def test_who_waits_gets_the_outcome_and_the_outputs_that_the_webhook_shows(driven: Api):
    blocks = {"double": [], "table": [], "hidden": []}
    write_pipeline(driven.headrace.project.root, "sums", blocks, {"double": DOUBLE, "table": TABLE})
    await listen(driven, "sums", answer=["double", "table"])
    told = await driven.post("/hooks/sums?wait=30", {"n": 21}, status=200, headers={"Idempotency-Key": "a"})
    (run,) = told["ended"]
    assert (run["id"], run["status"]) == (told["run"], "completed")
    assert run["outputs"] == {"double": [{"twice": 42}], "table": [[{"n": 1}, {"n": 2}]]}
    again = await driven.post("/hooks/sums?wait=30", {"n": 21}, status=200, headers={"Idempotency-Key": "a"})
    assert again == told


async def test_a_run_that_fails_is_an_outcome_too(driven: Api):
    write_pipeline(driven.headrace.project.root, "bad", {"b": []}, {"b": "@custom\ndef b(*a, **k):\n    1 / 0\n"})
    await listen(driven, "bad")
    (run,) = (await driven.post("/hooks/bad?wait=30", {}, status=200))["ended"]
    assert (run["status"], run["outputs"]) == ("failed", {})
    assert "ZeroDivisionError" in run["reason"] or "division by zero" in run["reason"]


@pytest.mark.alone
async def test_who_waits_too_short_is_told_how_it_stands(driven: Api):
    write_pipeline(driven.headrace.project.root, "naps", {"nap": []}, {"nap": SLEEP})
    await listen(driven, "naps")
    began = time.perf_counter()
    told = await driven.post("/hooks/naps?wait=0.3", {"n": 2}, status=202)
    assert 0.3 <= time.perf_counter() - began < 1.5
    assert told["ended"][0]["status"] in ("initial", "running")
    await driven.headrace.finished(told["run"])


async def test_a_hundred_who_wait_for_one_delivery_get_one_answer(driven: Api):
    write_pipeline(driven.headrace.project.root, "many", {"double": []}, {"double": DOUBLE})
    await listen(driven, "many", answer="double")
    headers = {"Idempotency-Key": "once"}
    async with asyncio.timeout(30):
        answers = await asyncio.gather(
            *(driven.post("/hooks/many?wait=20", {"n": 1}, status=200, headers=headers) for _ in range(100))
        )
    assert all(told == answers[0] for told in answers)
    assert driven.served.waiting == 0


@pytest.mark.parametrize("wait", ["-1", "301", "x", "nan", ""])
async def test_a_wait_that_cannot_be_is_refused(driven: Api, wait: str):
    write_pipeline(driven.headrace.project.root, "never", {"a": []})
    await listen(driven, "never")
    await driven.post(f"/hooks/never?wait={wait}", {}, status=422)
    assert (await driven.get("/api/v1/runs?pipeline=never"))["items"] == []
