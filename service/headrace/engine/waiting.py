"""Tells why a run, or a block of it, waits, and behind whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.engine.reading import run_row, view_run
from headrace.engine.views import BlockRunView
from headrace.store.admissions import ahead_at_gate, cap_in_force, passed_gate
from headrace.store.database import Database
from headrace.store.slots import SlotWait, slots_in_the_way

MOST_SHOWN = 5

_GATES = {
    "project": "the project's limit",
    "pipeline": "the limit of pipeline {0}",
    "trigger": "the limit of trigger {0}",
    "key": "the concurrency key {0}",
}


async def why(database: Database, run: int) -> list[str]:
    """A line for each thing that a run waits for now; none for one that has ended or waits for nothing.

    Raises UnknownRun.
    """
    row = await run_row(database, run)
    if row["finished_at"] is not None:
        return []
    if row["status"] == RunStatus.INITIAL:
        return [await _initial(database, row)]
    view = await view_run(database, run)
    waits = [
        f"block {block.uuid}: {line}"
        for block in view.blocks
        if block.reason and not block.finished_at
        for line in await _block(database, run, block)
    ]
    return [view.reason, *waits] if view.reason and row["owner"] is None else waits


async def _initial(database: Database, row: Mapping[str, Any]) -> str:
    gate = row["parked_on"]
    if gate is None:
        return "waiting for a service to claim it"
    cap = await cap_in_force(database, row["id"], gate)
    if cap is None:
        return "waiting for a service to claim it"
    holders = await passed_gate(database, gate, MOST_SHOWN)
    ahead = await ahead_at_gate(database, gate, row["id"])
    held = ", ".join(f"run {holder.id} ({holder.status})" for holder in holders) or "nobody any more"
    behind = f"; {ahead} more wait before it" if ahead else "; it is next"
    return f"waiting for {gate_told(gate)} ({cap} at once), held by {held}{behind}"


async def _block(database: Database, run: int, block: BlockRunView) -> list[str]:
    waits = await slots_in_the_way(database, run, block.uuid) if block.status == BlockStatus.QUEUED else []
    return [_slot_told(wait) for wait in waits] or [block.reason or ""]


def _slot_told(wait: SlotWait) -> str:
    size = "" if wait.size is None else f" ({wait.size} slots)"
    held = ", ".join(wait.holders) or "nobody any more"
    behind = f"; {wait.ahead} more wait before it" if wait.ahead else "; it is next"
    return f"waiting for a slot of pool {wait.pool}{size}, held by {held}{behind}"


def gate_told(gate: str) -> str:
    """A gate's name as people read it."""
    kind, _, rest = gate.partition(":")
    return _GATES[kind].format(rest.partition("/")[2] or rest)
