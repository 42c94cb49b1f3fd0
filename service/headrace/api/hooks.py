"""Webhooks: requests of others that become events. A path asks what its triggers ask, and answers after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
from aiohttp import web
from pydantic import Field

from headrace.api.auth import Forbidden, Unauthenticated, let_through
from headrace.api.bodies import BodyLimits, read_body
from headrace.api.fields import Given
from headrace.api.routes import Call, Route
from headrace.api.served import Served
from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, FateOf
from headrace.domain.scopes import Scope
from headrace.domain.webhooks import Preset
from headrace.engine.headrace import Headrace
from headrace.engine.values import shown_values
from headrace.engine.views import RunEnd
from headrace.triggers.payloads import UnreadablePayload
from headrace.triggers.signatures import BadSignature
from headrace.triggers.webhooks import Delivery, Hook, UnreadableKey, UnusableWebhook, lower_headers

MOST_WAIT = 300.0


class UnknownHook(HeadraceError):
    """No active trigger listens to this path."""

    code = "unknown-hook"


class HookPath(Given):
    """The path of a webhook."""

    path: Annotated[str, Field(max_length=500)]


class HookQuery(Given):
    """Whether to wait for what becomes of the delivery."""

    wait: Annotated[
        float | None, Field(ge=0, le=MOST_WAIT, description="Seconds to wait for the end of the runs that it makes.")
    ] = None


@dataclass(frozen=True, slots=True)
class HookFate:
    """What became of a delivery for one trigger."""

    trigger: int | None
    fate: str
    reason: str | None
    run: int | None


@dataclass(frozen=True, slots=True)
class HookRun:
    """How a run stands. `outputs` are those of the blocks that the webhook shows, once the run has ended."""

    id: int
    status: str
    reason: str | None
    outputs: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """A delivery that is committed; the same delivery again is answered with the same event and runs.

    `run` is the first of `runs`, null where it made none; `ended` tells how they stand, for those who wait.
    """

    event: int
    run: int | None
    runs: tuple[int, ...]
    fates: tuple[HookFate, ...]
    ended: tuple[HookRun, ...] | None = None


async def take_delivery(call: Call, path: HookPath, query: HookQuery) -> HookAnswer | web.Response:
    """Take one delivery of a webhook: 202 once it is committed, 200 with its runs' outcome where the sender waits."""
    hooks = _hooks(call.served, path.path)
    _take_rate(call, path.path, hooks)
    untokened = await _token_refusal(call, hooks)
    delivery = await _delivery(call, path.path, hooks)
    let_in = _let_in(call.served, hooks, delivery, untokened)
    if (greeting := _greeting(let_in, delivery)) is not None:
        return greeting
    told = _told(await _accepted_by_all(call.served, let_in, delivery))
    if not query.wait or not told.runs or call.served.waiting >= call.served.settings.most_waiting:
        return told
    return await _waited(call, let_in, told, query.wait)


def _hooks(served: Served, path: str) -> Sequence[Hook]:
    hooks = served.intake.hooks.at(path)
    if not hooks:
        raise UnknownHook(f"No active trigger listens to /hooks/{path}.", remedy="Check the path in triggers.yaml.")
    return hooks


def _take_rate(call: Call, path: str, hooks: Sequence[Hook]) -> None:
    rate = min((hook.rate for hook in hooks), key=lambda each: each.per_second)
    call.served.rates.take(path, call.request.remote or "", rate)


async def _token_refusal(call: Call, hooks: Sequence[Hook]) -> HeadraceError | None:
    """Why the request's API token does not do, where one is needed; raised where nothing but a token would do."""
    if not any(hook.needs_token for hook in hooks):
        return None
    try:
        await let_through(call.served, call.request, Scope.RUN)
    except (Unauthenticated, Forbidden) as error:
        if all(hook.needs_token for hook in hooks):
            raise
        return error
    return None


async def _delivery(call: Call, path: str, hooks: Sequence[Hook]) -> Delivery:
    """The request within the strictest limits of those it may be for. Nothing of it is parsed here."""
    limits = BodyLimits(min(hook.max_bytes for hook in hooks), min(hook.max_seconds for hook in hooks))
    body = await read_body(call.request, limits)
    return Delivery(path, lower_headers(call.request.raw_headers), body.raw, body.plain)


def _let_in(served: Served, hooks: Sequence[Hook], delivery: Delivery, untokened: HeadraceError | None) -> list[Hook]:
    """The webhooks that the request satisfies. Raises why it does not, where there is none."""
    let_in: list[Hook] = []
    refusal: HeadraceError | None = None
    for hook in hooks:
        if hook.needs_token and untokened is not None:
            refusal = refusal or untokened
            continue
        try:
            hook.verify(delivery, served.clock.now())
            let_in.append(hook)
        except (BadSignature, UnusableWebhook) as error:
            refusal = refusal or error
    if refusal is not None and not let_in:
        raise refusal
    return let_in


def _greeting(hooks: Sequence[Hook], delivery: Delivery) -> web.Response | None:
    """The answer to a sender that only asks whether somebody is there; no event is made of that."""
    presets = {rules.preset for hook in hooks for rules in hook.rules}
    if Preset.GITHUB in presets and delivery.headers.get("x-github-event") == "ping":
        return web.json_response({"pong": True})
    payload = delivery.readable_payload if Preset.SLACK in presets else None
    if isinstance(payload, dict) and payload.get("type") == "url_verification":
        return web.json_response({"challenge": str(payload.get("challenge"))})
    return None


async def _accepted_by_all(served: Served, hooks: Sequence[Hook], delivery: Delivery) -> list[Accepted]:
    """What each webhook made of a delivery. One that cannot read it keeps it as a dead letter, and that is raised."""
    answers: list[Accepted] = []
    refusals: list[HeadraceError] = []
    for hook in hooks:
        try:
            answers.append(await served.intake.acceptor.accept(hook.event(delivery)))
        except (UnreadablePayload, UnreadableKey) as error:
            kept = await served.intake.acceptor.bury(hook.unreadable_event(delivery), str(error))
            told = f"{error.message} The delivery is kept as event {kept.event}, a dead letter."
            refusals.append(type(error)(told, remedy=error.remedy))
    if refusals:
        raise refusals[0]
    return answers


def _told(answers: Sequence[Accepted]) -> HookAnswer:
    fates = sorted((fate for answer in answers for fate in answer.fates), key=_place)
    runs = tuple(fate.run for fate in fates if fate.run is not None)
    told = tuple(HookFate(fate.trigger, fate.fate, fate.reason, fate.run) for fate in fates)
    return HookAnswer(answers[0].event, runs[0] if runs else None, runs, told)


def _place(fate: FateOf) -> int:
    return fate.trigger or 0


async def _waited(call: Call, hooks: Sequence[Hook], told: HookAnswer, seconds: float) -> HookAnswer:
    """The answer with how its runs stand: at their end, or when the time is up."""
    shown = sorted({block for hook in hooks for block in hook.answer})
    headraces = {run: await call.served.project_of(run) for run in told.runs}
    ends: dict[int, RunEnd] = {}
    call.served.waiting += 1
    try:
        with anyio.move_on_after(seconds):
            for run, headrace in headraces.items():
                ends[run] = await headrace.ended(run)
    finally:
        call.served.waiting -= 1
    if len(ends) == len(headraces):
        call.status = 200
    ended = tuple([await _run(headrace, run, ends.get(run), shown) for run, headrace in headraces.items()])
    return HookAnswer(told.event, told.run, told.runs, told.fates, ended)


async def _run(headrace: Headrace, run: int, end: RunEnd | None, shown: Sequence[str]) -> HookRun:
    """How a run stands: as it ended, or as it is now."""
    if end is None:
        view = await headrace.show(run)
        return HookRun(run, view.status, view.reason, {})
    return HookRun(run, end.status, end.reason, await shown_values(headrace.database, run, shown))


ROUTES = (
    Route(
        "POST",
        "/hooks/{path:.+}",
        None,
        take_delivery,
        202,
        (
            "unknown-hook", "bad-signature", "unauthenticated", "forbidden", "too-many-requests", "body-too-large",
            "body-too-slow", "unsupported-encoding", "unreadable-payload", "unreadable-key", "unusable-webhook",
            "unacceptable-event", "database-unavailable",
        ),
        also=(200,),
        open_because="each webhook says itself how its sender proves to be it; where it says nothing, by an API token",
    ),
)  # fmt: skip
