"""From a route to what aiohttp calls: lets the caller through, reads what the route takes, writes what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from headrace.api.auth import let_through
from headrace.api.bodies import read_body
from headrace.api.problems import InvalidRequest
from headrace.api.routes import JSON, Call, Route
from headrace.api.served import Served

MOST_ERRORS = 20


def endpoint(served: Served, route: Route) -> Handler:
    """What answers a route. Nothing of a request is read before its bearer was let through."""

    async def answer(request: web.Request) -> web.StreamResponse:
        bearer = None if route.scope is None else await let_through(served, request, route.scope)
        call = Call(served, request, bearer, route.status)
        given = await _given(served, route, request)
        told = await route.answer(call, **given)
        return told if isinstance(told, web.StreamResponse) else _written(route, call, told)

    return answer


async def _given(served: Served, route: Route, request: web.Request) -> dict[str, BaseModel]:
    given: dict[str, BaseModel] = {}
    if (model := route.takes("path")) is not None:
        given["path"] = _read(model, "path", request.match_info)
    if (model := route.takes("query")) is not None:
        given["query"] = _read(model, "query", request.query)
    if (model := route.takes("headers")) is not None:
        given["headers"] = _read(model, "headers", _named(model, request.headers))
    if (model := route.takes("body")) is not None:
        given["body"] = await _read_json(served, model, request)
    return given


def _named(model: type[BaseModel], headers: Mapping[str, str]) -> dict[str, str]:
    """Those of a request's headers that a model names; the others are not the route's business."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    return {name: headers[name] for name in names if name in headers}


def _read(model: type[BaseModel], part: str, values: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(dict(values), strict=False)
    except ValidationError as error:
        raise _invalid(part, error) from None


async def _read_json(served: Served, model: type[BaseModel], request: web.Request) -> BaseModel:
    body = (await read_body(request, served.settings.body)).plain
    if body and request.content_type not in (JSON, "application/octet-stream"):
        raise InvalidRequest(
            f"The body is {request.content_type}.", remedy="Send it as application/json; curl does with --json."
        )
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _invalid("body", error) from None


def _invalid(part: str, error: ValidationError) -> InvalidRequest:
    faults = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ERRORS]
    errors = tuple(
        {"where": ".".join(map(str, (part, *fault["loc"]))), "told": _plain(fault["msg"])} for fault in faults
    )
    told = "; ".join(f"{one['where']}: {one['told']}" for one in errors)
    return InvalidRequest(f"The request is not what this route takes: {told}", errors)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _written(route: Route, call: Call, told: Any) -> web.Response:
    if route.gives is None:
        return web.Response(status=call.status, headers=call.headers)
    return web.Response(status=call.status, body=route.gives.dump_json(told), content_type=JSON, headers=call.headers)
