"""The addresses at which Mage's API triggers are called, with Mage's bodies and answers: callers need not change.

As in Mage, an error is an answer of status 200 with an `error` in it; statuses of their own are left for what callers
should try again: too large, too slow, too often, or the database away.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hmac import compare_digest
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from headrace.api.auth import digest_of, let_through
from headrace.api.bodies import BodyLimits, read_body
from headrace.api.fields import Given, Id
from headrace.api.problems import status_of
from headrace.api.routes import Call, Route
from headrace.api.runs import StartHeaders
from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, NewEvent
from headrace.domain.scopes import Scope
from headrace.domain.triggers import ApiCall, TriggerKind
from headrace.domain.webhooks import Rate
from headrace.engine.reading import run_row
from headrace.store.tokens import trigger_of_token
from headrace.triggers.book import KnownTrigger
from headrace.triggers.naming import UnknownTrigger
from headrace.triggers.payloads import JSON_TYPE, UnreadablePayload, payload_of

LIMITS = BodyLimits(10 << 20)
RATE = Rate()
ANSWERED = frozenset({400, 401, 403, 404, 409, 422})
"""Statuses that become Mage's form of an error; whoever gets another one should try again."""


class NoRun(HeadraceError):
    """The call was accepted, and made no run."""

    code = "no-run"


class CallPath(Given):
    """Which trigger. The token alone decides: ids that another installation gave are of no use here."""

    schedule: Id
    token: Annotated[str, Field(max_length=500)]


class BearerPath(Given):
    """Which trigger."""

    schedule: Id


async def call_with_token_in_path(call: Call, path: CallPath, headers: StartHeaders) -> dict[str, Any]:
    """Run a pipeline by its API trigger, the trigger's token in the address."""
    return await _in_mages_form(call, path.schedule, path.token, headers.key)


async def call_with_bearer_token(call: Call, path: BearerPath, headers: StartHeaders) -> dict[str, Any]:
    """Run a pipeline by its API trigger, the trigger's token (or one of Headrace's with the scope run) as bearer."""
    kind, _, token = call.request.headers.get("Authorization", "").partition(" ")
    return await _in_mages_form(call, path.schedule, token.strip() if kind.lower() == "bearer" else "", headers.key)


async def _in_mages_form(call: Call, schedule: int, token: str, key: str | None) -> dict[str, Any]:
    try:
        return {"pipeline_run": await _called(call, schedule, token, key)}
    except HeadraceError as error:
        status = status_of(error)
        if status not in ANSWERED:
            raise
        return {"error": {"code": status, "message": str(error), "type": error.code.replace("-", "_")}}


async def _called(call: Call, schedule: int, token: str, key: str | None) -> dict[str, Any]:
    call.served.rates.take("pipeline_schedules", call.request.remote or "", RATE)
    known = await _trigger(call, schedule, token)
    body = await read_body(call.request, LIMITS)
    variables, event_variables = _split(payload_of(JSON_TYPE, body.plain))
    accepted = await call.served.intake.acceptor.accept(
        NewEvent(
            known.project.id,
            known.trigger.source,
            "call",
            key or uuid4().hex,
            event_variables,
            body=body.raw,
            variables={**await _unnamed(call, known, event_variables), **variables},
        )
    )
    return await _pipeline_run(call, known, accepted, variables, event_variables)


async def _trigger(call: Call, schedule: int, token: str) -> KnownTrigger:
    """The trigger that a token calls. Raises UnknownTrigger, Unauthenticated or Forbidden."""
    book = call.served.intake.book
    digest = digest_of(token)
    for known in book.of_kind(TriggerKind.API):
        when = known.trigger.when
        if isinstance(when, ApiCall) and when.token and compare_digest(digest_of(when.token), digest):
            return known
    found = None if not token else await trigger_of_token(call.served.opened, digest)
    if found is None:
        await let_through(call.served, call.request, Scope.RUN)
        found = schedule
    known_by_id = book.by_id(found)
    if known_by_id is None or known_by_id.trigger.kind is not TriggerKind.API:
        raise UnknownTrigger(f"There is no active API trigger {found}.", remedy="See `headrace triggers`.")
    return known_by_id


async def _unnamed(call: Call, known: KnownTrigger, event_variables: Mapping[str, Any]) -> dict[str, Any]:
    """Event variables of names that neither the pipeline nor the trigger gives a value: as in Mage, those win."""
    named = set(known.trigger.variables)
    with suppress(HeadraceError):  # what is wrong with the pipeline is told when the call is accepted
        pins = call.served.intake.acceptor.planner.pins
        named |= (await pins.pin(known.project.id, known.trigger.pipeline)).pipeline.variables.keys()
    return {name: value for name, value in event_variables.items() if name not in named}


def _split(payload: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's variables, and what else the body holds: Mage's event variables."""
    given = {} if payload is None else payload
    if not isinstance(given, dict):
        raise UnreadablePayload("The body is no JSON object.", remedy='Send `{"pipeline_run": {"variables": {}}}`.')
    wrapped = given.get("pipeline_run")
    variables = wrapped.get("variables") if isinstance(wrapped, dict) else None
    if variables is not None and not isinstance(variables, dict):
        raise UnreadablePayload("pipeline_run.variables is no JSON object.", remedy="Send one name and value each.")
    return dict(variables or {}), {name: value for name, value in given.items() if name != "pipeline_run"}


async def _pipeline_run(
    call: Call, known: KnownTrigger, accepted: Accepted, variables: Mapping[str, Any], event: Mapping[str, Any]
) -> dict[str, Any]:
    if not accepted.runs:
        reasons = "; ".join(fate.reason or fate.fate for fate in accepted.fates) or "its trigger was switched off"
        raise NoRun(f"The call made no run: {reasons}.")
    row = await run_row(call.served.opened, accepted.runs[0])
    return {
        "id": row["id"],
        "created_at": str(row["created_at"]),
        "updated_at": str(row["finished_at"] or row["started_at"] or row["created_at"]),
        "pipeline_schedule_id": known.id,
        "pipeline_uuid": row["pipeline"],
        "execution_date": str(row["execution_date"]),
        "status": "initial" if accepted.is_new else row["status"],
        "started_at": _time(row["started_at"]),
        "completed_at": _time(row["finished_at"]),
        "variables": dict(variables),
        "passed_sla": row["passed_sla"],
        "event_variables": dict(event),
        "metrics": None,
        "backfill_id": None,
        "executor_type": "local_python",
    }


def _time(moment: Any) -> str | None:
    return None if moment is None else str(moment)


_OPEN = "the trigger's own token is looked at first, as in Mage"

ROUTES = (
    Route(
        "POST",
        "/api/pipeline_schedules/{schedule}/pipeline_runs/{token}",
        None,
        call_with_token_in_path,
        problems=("too-many-requests", "body-too-large", "body-too-slow", "unsupported-encoding"),
        open_because=_OPEN,
    ),
    Route(
        "POST",
        "/api/pipeline_schedules/{schedule}/api_trigger",
        None,
        call_with_bearer_token,
        problems=("too-many-requests", "body-too-large", "body-too-slow", "unsupported-encoding"),
        open_because=_OPEN,
    ),
)
