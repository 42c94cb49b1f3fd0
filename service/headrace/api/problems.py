"""Errors as answers: RFC 9457 problem details, and the one table from an error's code to its HTTP status."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Handler

from headrace.domain.errors import HeadraceError
from headrace.store.errors import DATABASE_AWAY, StoreError

log = logging.getLogger(__name__)

MEDIA = "application/problem+json"
RETRY_SECONDS = 2
"""What clients are told to wait while the database, or a part of the service, is away."""

STREAMING = web.RequestKey("streaming", bool)
"""Set on a request whose answer has begun: nothing can be put right any more but by closing the connection."""

STATUSES: Mapping[str, int] = {
    "invalid-request": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "wrong-host": 421,
    "not-found": 404,
    "method-not-allowed": 405,
    "body-too-large": 413,
    "unsupported-encoding": 415,
    "body-too-slow": 408,
    "head-too-slow": 408,
    "unreadable-request": 400,
    "too-many-requests": 429,
    "too-many-streams": 503,
    "not-ready": 503,
    "internal-error": 500,
    "unknown-project": 404,
    "project-needed": 400,
    "unknown-pipeline": 404,
    "unknown-run": 404,
    "unknown-block": 404,
    "unknown-output": 404,
    "unknown-token": 404,
    "unknown-event": 404,
    "unknown-trigger": 404,
    "not-a-schedule": 409,
    "broken-trigger": 409,
    "unacceptable-event": 422,
    "unusable-variable": 422,
    "unknown-sensor": 404,
    "no-such-cursor": 409,
    "unknown-backfill": 404,
    "backfill-cannot": 409,
    "bad-backfill": 422,
    "bad-interval": 422,
    "unknown-hook": 404,
    "bad-signature": 401,
    "unusable-webhook": 503,
    "unreadable-payload": 400,
    "unreadable-key": 422,
    "no-run": 409,
    "trigger-of-a-file": 409,
    "not-an-api-trigger": 409,
    "name-taken": 409,
    "still-running": 409,
    "already-ended": 409,
    "no-stored-output": 409,
    "outputs-removed": 409,
    "not-rendered": 406,
    "other-project": 404,
    "project-fault": 409,
    "no-project": 409,
    "invalid-pipeline": 409,
    "illegal-transition": 409,
    "unreadable-file": 409,
    "unreadable-output": 409,
    "newer-record": 503,
    "database-busy": 503,
    "database-unavailable": 503,
}
"""An error's code to the status that tells it; a code that is not here is a fault of ours, 500."""


class NotReady(HeadraceError):
    """The service has no database yet, or is stopping."""

    code = "not-ready"


class NotFound(HeadraceError):
    """There is nothing at this address."""

    code = "not-found"


class MethodNotAllowed(HeadraceError):
    """This address is there, with other methods."""

    code = "method-not-allowed"


class InvalidRequest(HeadraceError):
    """A request's path, query or body is not what its route takes; `errors` tell each fault and its place."""

    code = "invalid-request"

    def __init__(self, message: str, errors: tuple[Mapping[str, str], ...] = (), *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.errors = errors


class InternalError(HeadraceError):
    """Something went wrong that is no fault of the request; the service's log tells more under its id."""

    code = "internal-error"


class Away(HeadraceError):
    """The database is away or too busy; nothing was done, or what was done is found again by its key."""

    code = "database-unavailable"


UNREADABLE: tuple[type[BaseException], ...] = (*DATABASE_AWAY, StoreError, NotReady)
"""What reading from the database raises while it is away, too busy, or has not been reached yet."""


def status_of(error: HeadraceError) -> int:
    """The HTTP status that tells an error."""
    return STATUSES.get(error.code, 500)


def problem(error: HeadraceError, instance: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as an answer."""
    status = status_of(error)
    given = dict(headers or {})
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        given.setdefault("Retry-After", str(RETRY_SECONDS))
    return web.Response(status=status, body=problem_body(error, instance), content_type=MEDIA, headers=given)


def problem_body(error: HeadraceError, instance: str) -> bytes:
    """What an answer tells of an error: JSON."""
    told: dict[str, Any] = {
        "type": f"urn:headrace:problem:{error.code}",
        "title": error.code.replace("-", " ").capitalize(),
        "status": status_of(error),
        "detail": error.message,
        "code": error.code,
        "instance": instance,
    }
    if error.remedy:
        told["remedy"] = error.remedy
    if isinstance(error, InvalidRequest) and error.errors:
        told["errors"] = error.errors
    return json.dumps(told).encode()


@web.middleware
async def answer_in_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem; unforeseen errors are logged under an id that the client gets."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _of_http(request, error)
    except HeadraceError as error:
        if request.get(STREAMING):
            raise
        return problem(error, request.path, getattr(error, "headers", None))
    except ConnectionResetError:  # the client has gone
        raise
    except DATABASE_AWAY as error:
        if request.get(STREAMING):
            raise
        log.warning("%s %s could not be answered: the database is away (%s)", request.method, request.path, error)
        return problem(Away("The database is away.", remedy="Try again."), request.path)
    except Exception:  # the boundary of a request: whatever it met, others go on
        if request.get(STREAMING):
            raise
        return _unforeseen(request)


def _of_http(request: web.Request, error: web.HTTPException) -> web.Response:
    match error.status:
        case 404:
            return problem(
                NotFound(
                    f"There is nothing at {request.path}.", remedy="GET /api/v1/openapi.json tells what there is."
                ),
                request.path,
            )
        case 405:
            allowed = error.headers.get("Allow", "")
            told = MethodNotAllowed(f"{request.method} is not for {request.path}.", remedy=f"It takes {allowed}.")
            return problem(told, request.path, {"Allow": allowed})
        case status:
            return web.json_response(
                {"type": "about:blank", "title": error.reason, "status": status, "instance": request.path},
                status=status,
                content_type=MEDIA,
            )


def _unforeseen(request: web.Request) -> web.Response:
    number = uuid4().hex[:12]
    log.exception("%s %s failed (error %s)", request.method, request.path, number)
    return problem(
        InternalError(
            f"The service failed to answer; its log tells more under error {number}.",
            remedy="Try again; if it stays, look into the service's log.",
        ),
        request.path,
    )
