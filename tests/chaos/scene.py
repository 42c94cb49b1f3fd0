"""The project over which a storm passes, and what must become of each event that is sent to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.chaos import feed, posting, timetable
from tests.support.projects import write_pipeline, write_project
from tests.support.triggers import webhook, write_triggers

CUSTOMERS = 12
"""Values of the dedup key: so many runs of `keyed` are made, however many events come."""

LEDGER = """
import os, random, time
@custom
def body(*args, **kwargs):
    with open({ledger!r}, "a") as ledger:
        ledger.write(f"{{kwargs['pipeline_run_id']}} {{kwargs['block_uuid']}}\\n")
    time.sleep(random.uniform(*{seconds}))
    {rest}
"""
SHORT, LONG = (0.0, 0.1), (0.1, 0.25)
"""Seconds that a body takes; long ones are where others have to wait for them."""
WELL = "return len(args)"
FAILS_OFTEN = 'if random.random() < 0.4:\n        raise RuntimeError("bad luck")\n    return 1'
DOOMED = 'raise RuntimeError("this one always fails")'


@dataclass(frozen=True, slots=True)
class Errand:
    """One thing that a writer asks for: an event of `source`, or (source empty) a start of `start`."""

    key: str
    payload: Mapping[str, Any] = field(hash=False)
    source: str = ""
    start: str = ""

    @property
    def request(self) -> dict[str, Any]:
        """What the door of a service takes."""
        told = {"source": self.source} if self.source else {"start": self.start}
        return {**told, "key": self.key, "payload": dict(self.payload)}


def write_scene(root: Path, ledger: Path) -> None:
    """Chains, a diamond, retries, failures, a pool, batches, one run at a time, dedup keys, a run after runs, webhooks.

    Its schedules and its sensors are written by the timetable and the feed.
    """
    write_project(root)
    (root / "metadata.yaml").write_text(yaml.safe_dump({"project_type": "standalone", "pools": {"press": 2}}))
    steady, long, often, doomed = (
        LEDGER.format(ledger=str(ledger), seconds=seconds, rest=rest)
        for seconds, rest in ((SHORT, WELL), (LONG, WELL), (SHORT, FAILS_OFTEN), (SHORT, DOOMED))
    )
    retries = {"retry_config": {"retries": 40, "delay": 0.02, "max_delay": 0.1}}
    chain = {"one": (), "two": ("one",), "three": ("two",)}
    write_pipeline(root, "chain", chain, default=steady)
    diamond = {"top": (), "left": ("top",), "right": ("top",), "join": ("left", "right")}
    write_pipeline(root, "diamond", diamond, default=steady)
    write_pipeline(root, "flaky", {"first": (), "second": ("first",)}, default=often, options=retries)
    write_pipeline(root, "doomed", {"only": (), "never": ("only",)}, default=doomed)
    pressed = {"left": {"pool": "press"}, "right": {"pool": "press"}}
    write_pipeline(root, "pooled", {"left": (), "right": ()}, default=long, block_options=pressed)
    write_pipeline(root, "single", {"only": ()}, default=long)
    others = ("batched", "keyed", "after", "filled", timetable.PIPELINE, feed.PIPELINE, feed.TOGETHER, posting.PIPELINE)
    for name in others:
        write_pipeline(root, name, {"only": ()}, default=steady)
    _write_triggers(root)


def _write_triggers(root: Path) -> None:
    batch = {"delay": 0.2, "max_wait": 1.0, "max_count": 20}
    write_triggers(root, "chain", [webhook("chained", "orders")])
    write_triggers(root, "diamond", [webhook("thirds", "orders", filter="event.n % 3 == 0")])
    write_triggers(root, "keyed", [webhook("once", "orders", dedup_key="{{ event.customer }}")])
    write_triggers(root, "flaky", [webhook("retried", "flaky")])
    write_triggers(root, "doomed", [webhook("lost", "doomed")])
    write_triggers(root, "pooled", [webhook("pressed", "pooled")])
    write_triggers(root, "batched", [webhook("gathered", "stream", batch=batch)])
    write_triggers(root, "single", [webhook("one_at_a_time", "single", max_active_runs=1, at_limit="queue")])
    ended = {"pipeline": "flaky", "status": ["completed", "failed"]}
    write_triggers(root, "after", [{"name": "follows", "schedule_type": "run", "run": ended}])
    posting.write_hooks(root)


EXPECTED: Mapping[str, Mapping[str, Callable[[Mapping[str, Any]], tuple[str, ...]]]] = {
    "webhook:orders": {
        "chained": lambda payload: ("run",),
        "thirds": lambda payload: ("run",) if payload["n"] % 3 == 0 else ("filtered",),
        "once": lambda payload: ("run", "skipped"),
    },
    "webhook:flaky": {"retried": lambda payload: ("run",)},
    "webhook:doomed": {"lost": lambda payload: ("run",)},
    "webhook:pooled": {"pressed": lambda payload: ("run",)},
    "webhook:stream": {"gathered": lambda payload: ("run",)},
    "webhook:single": {"one_at_a_time": lambda payload: ("run",)},
    "webhook:nobody": {},
}
"""Source to trigger to the fates that an event may come to, by its payload."""

SHARES = {
    "webhook:orders": 3,
    "webhook:stream": 8,
    "webhook:flaky": 2,
    "webhook:pooled": 4,
    "webhook:single": 4,
    "webhook:doomed": 1,
    "webhook:nobody": 1,
    "": 1,
}
"""How often each source is chosen; the empty one is a start that somebody asks for."""


def next_errand(chance: random.Random, writer: int, number: int) -> Errand:
    """The next thing that a writer asks for."""
    source = chance.choices(list(SHARES), list(SHARES.values()))[0]
    payload = {"writer": writer, "n": number, "customer": f"c{chance.randrange(CUSTOMERS)}"}
    return Errand(f"{writer}-{number}", payload, source, "" if source else "chain")
