"""Live streams of a run: whole, resumed without loss or repetition, bounded, kept open while nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.api import Api
from tests.support.projects import write_pipeline
from tests.support.streams import told_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TALK = "import time\n@custom\ndef say(*args, **kwargs):\n    for n in range(60):\n        print(n, flush=True)\n        time.sleep(0.02)\n"


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, Any]]:
    """Name, id and data of each event of a stream."""
    async for told in told_of(answer):
        yield told.name, told.id, told.data


async def started(api: Api, pipeline: str) -> int:
    return (await api.post("/api/v1/runs", {"pipeline": pipeline}))["id"]


async def test_a_stream_that_is_cut_again_and_again_loses_and_repeats_nothing(driven: Api):
    write_pipeline(driven.headrace.project.root, "talk", {"say": [], "then": ["say"]}, {"say": TALK})
    run = await started(driven, "talk")
    lines, states, ended, last = [], [], False, None
    cuts = 0
    async with asyncio.timeout(60):
        while not ended:
            headers = {} if last is None else {"Last-Event-ID": last}
            async with driven.client.get(f"{driven.url}/api/v1/runs/{run}/live", headers=headers) as answer:
                if answer.status == 204:  # it was cut between the last state and the end: nothing is left to tell
                    break
                assert answer.status == 200
                assert answer.headers["Content-Type"] == "text/event-stream"
                count = 0
                async for name, place, told in events(answer):
                    last, count = place, count + 1
                    if name == "log":
                        lines.append(told["text"])
                    elif name == "state":
                        states.append(told["step"])
                    else:
                        ended = True
                    if count == 7 and not ended:
                        cuts += 1
                        break
    assert lines == [str(n) for n in range(60)]
    assert cuts > 3
    assert states == sorted(set(states))
    async with driven.client.get(f"{driven.url}/api/v1/runs/{run}/live", headers={"Last-Event-ID": last}) as answer:
        assert answer.status == 204
    assert driven.served.streams == 0


async def test_the_last_state_is_the_runs_end_and_comes_after_its_log(driven: Api):
    write_pipeline(
        driven.headrace.project.root, "brief", {"say": []}, {"say": "@custom\ndef say(*a, **k):\n    print('hi')\n"}
    )
    run = await started(driven, "brief")
    async with asyncio.timeout(30), driven.client.get(f"{driven.url}/api/v1/runs/{run}/live") as answer:
        told = [(name, data) async for name, _, data in events(answer)]
    names = [name for name, _ in told]
    assert names[-2:] == ["state", "end"]
    assert told[-2][1] == await driven.get(f"/api/v1/runs/{run}")
    assert "log" in names


async def test_a_stream_with_nothing_to_tell_beats_ends_in_time_and_is_one_of_few(
    driven: Api, monkeypatch: pytest.MonkeyPatch
):
    write_pipeline(
        driven.headrace.project.root,
        "long",
        {"wait": []},
        {"wait": "import time\n@custom\ndef wait(*a, **k):\n    time.sleep(60)\n"},
    )
    run = await started(driven, "long")
    from dataclasses import replace

    monkeypatch.setattr(
        driven.served, "settings", replace(driven.served.settings, beat=0.2, stream=2.0, most_streams=1)
    )
    url = f"{driven.url}/api/v1/runs/{run}/live"
    async with asyncio.timeout(20), driven.client.get(url) as answer:
        async with driven.client.get(url) as other:
            assert other.status == 503
            assert (await other.json())["code"] == "too-many-streams"
        text = (await answer.read()).decode()
    assert text.count(": beat") >= 2
    await driven.post(f"/api/v1/runs/{run}/cancel", status=202)
    await driven.headrace.finished(run)


async def test_a_client_that_leaves_takes_its_stream_with_it(driven: Api):
    write_pipeline(
        driven.headrace.project.root,
        "left",
        {"wait": []},
        {"wait": "import time\n@custom\ndef wait(*a, **k):\n    time.sleep(60)\n"},
    )
    run = await started(driven, "left")
    answers = [await driven.client.get(f"{driven.url}/api/v1/runs/{run}/live") for _ in range(20)]
    assert driven.served.streams == 20
    for answer in answers:
        answer.close()
    async with asyncio.timeout(10):
        while driven.served.streams:
            await asyncio.sleep(0.01)
    await driven.post(f"/api/v1/runs/{run}/cancel", status=202)
    await driven.headrace.finished(run)


@pytest.mark.parametrize("place", ["x", "1", "1-", "-1-2", "1-2-3", "9" * 19 + "-1"])
async def test_an_id_that_is_none_is_refused(driven: Api, place: str):
    run = await started(driven, "orders")
    await driven.get(f"/api/v1/runs/{run}/live", status=422, headers={"Last-Event-ID": place})
    await driven.headrace.finished(run)
