"""Triggers that live in the database: made of the keys of triggers.yaml, switched, removed, exported to YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from headrace.domain.errors import HeadraceError
from headrace.domain.triggers import Trigger, TriggerStatus
from headrace.project.faults import Fault
from headrace.project.triggers import triggers_in
from headrace.store.database import Database
from headrace.store.triggers import GivenTrigger, TriggerRow, given_triggers, keep_api_trigger, retire_api_trigger
from headrace.triggers.book import row_of


class TriggerOfAFile(HeadraceError):
    """A trigger is written in a file: only there it can be changed."""

    code = "trigger-of-a-file"


class UnreadableTrigger(HeadraceError):
    """The keys of a trigger make none; `faults` are all the reasons."""

    code = "unreadable-trigger"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("The trigger cannot be read: " + " ".join(f"{each.message} {each.remedy}" for each in faults))
        self.faults = faults


def read_given(given: Mapping[str, Any], pipeline: str, environ: Mapping[str, str]) -> Trigger:
    """A trigger from the keys of triggers.yaml. Raises UnreadableTrigger."""
    text = yaml.safe_dump({"triggers": [dict(given)]})
    reading = triggers_in(text, pipeline, "trigger", environ)
    if reading.triggers:
        return reading.triggers[0]
    raise UnreadableTrigger(tuple(fault for broken in reading.broken for fault in broken.faults))


async def keep_given(database: Database, project_id: int, trigger: Trigger, given: Mapping[str, Any]) -> int:
    """Make a trigger, or put it in place of the one of its name; its id. Raises TriggerOfAFile."""
    number = await keep_api_trigger(database, project_id, row_of(trigger), given)
    if number is None:
        raise TriggerOfAFile(
            f"Pipeline {trigger.pipeline} has a trigger {trigger.name} in its triggers.yaml.",
            remedy="Change it there, or choose another name.",
        )
    return number


async def switch_given(database: Database, found: GivenTrigger, environ: Mapping[str, str], *, active: bool) -> int:
    """Switch a trigger on or off; its id. Raises TriggerOfAFile."""
    if found.given is None:
        raise of_a_file(found.row)
    status = TriggerStatus.ACTIVE if active else TriggerStatus.INACTIVE
    given = {**found.given, "status": status.value}
    return await keep_given(database, found.project_id, read_given(given, found.row.pipeline, environ), given)


async def remove_given(database: Database, found: GivenTrigger) -> None:
    """Switch a trigger off for good; its runs and events stay. Raises TriggerOfAFile."""
    if not await retire_api_trigger(database, found.row.id):
        raise of_a_file(found.row)


async def export_given(database: Database, project_id: int) -> str:
    """The triggers of a project that live in the database as YAML: a document for each pipeline's triggers.yaml."""
    found = await given_triggers(database, project_id)
    documents = [
        f"# pipelines/{pipeline}/triggers.yaml\n" + yaml.safe_dump({"triggers": given}, sort_keys=False)
        for pipeline, given in found.items()
    ]
    return "---\n".join(documents)


def of_a_file(row: TriggerRow) -> TriggerOfAFile:
    """The error for a trigger that is written in a file."""
    return TriggerOfAFile(
        f"Trigger {row.name} is written in pipelines/{row.pipeline}/triggers.yaml.", remedy="Change it there."
    )
