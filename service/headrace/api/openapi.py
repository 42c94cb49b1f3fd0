"""The API described for programs: OpenAPI 3.1, made of the route table and the models of its requests and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from headrace.api import problems
from headrace.api.routes import JSON, Call, Route
from headrace.domain.scopes import Scope

_REF = "#/components/schemas/{model}"
_PARTS = {"path": "path", "query": "query", "headers": "header"}
"""Parts of a request that are written as parameters, to what OpenAPI calls them."""
_EVERYWHERE = ("internal-error", "not-ready", "wrong-host")
_SECURED = ("unauthenticated", "forbidden")
_GIVEN = ("invalid-request",)
_BODIED = ("body-too-large", "body-too-slow", "unsupported-encoding")

PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 tells it; `code` is stable.",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "remedy": {"type": "string", "description": "What to do next."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "told"],
                "properties": {"where": {"type": "string"}, "told": {"type": "string"}},
            },
        },
    },
}


def describe(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    schemas, definitions = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.address, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": version,
            "description": "Pipelines, their runs, and the events that start them.",
        },
        "paths": paths,
        "components": {
            "schemas": {**definitions, "Problem": PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`headrace tokens create` makes one."}
            },
        },
    }


_Key = tuple[str, str]


def _schemas(routes: Iterable[Route]) -> tuple[dict[_Key, dict[str, Any]], dict[str, Any]]:
    """The schema of each (operation, part), and the definitions that they refer to."""
    wanted: list[tuple[_Key, JsonSchemaMode, TypeAdapter[Any]]] = []
    for route in routes:
        if (body := route.takes("body")) is not None:
            wanted.append(((route.name, "body"), "validation", TypeAdapter(body)))
        if route.gives is not None:
            wanted.append(((route.name, "gives"), "serialization", route.gives))
    found, rest = TypeAdapter.json_schemas(wanted, ref_template=_REF)
    return {key: schema for (key, _), schema in found.items()}, rest.get("$defs", {})


def _operation(route: Route, schemas: Mapping[_Key, dict[str, Any]]) -> dict[str, Any]:
    summary, _, rest = route.purpose.partition("\n")
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": summary,
        "description": rest.strip() or summary,
        "tags": [_tag(route)],
        "security": [] if route.scope is None else [{"token": []}],
        "parameters": [parameter for part in _PARTS for parameter in _parameters(route, part)],
        "responses": _responses(route, schemas),
    }
    if route.scope is not None:
        operation["x-scope"] = route.scope
    if route.takes("body") is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[route.name, "body"]}}}
    return operation


def _tag(route: Route) -> str:
    parts = route.address.strip("/").split("/")
    return parts[2] if parts[0] == "api" and len(parts) > 2 else parts[0]


def _parameters(route: Route, part: str) -> list[dict[str, Any]]:
    model = route.takes(part)
    if model is None:
        return []
    whole = model.model_json_schema(ref_template=_REF)
    return [_parameter(_PARTS[part], name, whole) for name in whole["properties"]]


def _parameter(place: str, name: str, whole: dict[str, Any]) -> dict[str, Any]:
    """One parameter of a model's whole schema. Null cannot be written in an address or a header."""
    schema = dict(whole["properties"][name])
    one = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(one) == 1:
        schema = {**one[0], **{key: value for key, value in schema.items() if key not in ("anyOf", "default")}}
    if "$ref" in schema:
        schema = {**whole["$defs"][schema.pop("$ref").rpartition("/")[2]], **schema}
    described = {"description": schema.pop("description")} if "description" in schema else {}
    required = name in whole.get("required", ())
    return {"name": name, "in": place, "required": required, "schema": schema, **described}


def _responses(route: Route, schemas: Mapping[_Key, dict[str, Any]]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in (route.status, *route.also):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, **_content(route, schemas)}
    by_status: dict[int, list[str]] = {}
    for code in _codes(route):
        by_status.setdefault(problems.STATUSES[code], []).append(code)
    for number, codes in sorted(by_status.items()):
        content = {problems.MEDIA: {"schema": {"$ref": _REF.format(model="Problem")}}}
        told = responses.setdefault(str(number), {"description": ""})
        told["description"] = ", ".join(filter(None, (told["description"], *codes)))
        told.setdefault("content", {}).update(content)
    return responses


def _content(route: Route, schemas: Mapping[_Key, dict[str, Any]]) -> dict[str, Any]:
    if route.gives is not None:
        return {"content": {JSON: {"schema": schemas[route.name, "gives"]}}}
    return {"content": {route.media: {}}} if route.media != JSON else {}


def _codes(route: Route) -> list[str]:
    codes = [*_EVERYWHERE, *route.problems]
    if route.scope is not None:
        codes += _SECURED
    if any(route.takes(part) for part in (*_PARTS, "body")):
        codes += _GIVEN
    if route.takes("body") is not None:
        codes += _BODIED
    return codes


DESCRIPTION = web.AppKey("description", dict[str, Any])


async def show_description(call: Call) -> dict[str, Any]:
    """Describe this API as OpenAPI 3.1."""
    return call.request.app[DESCRIPTION]


ROUTES = (Route("GET", "/api/v1/openapi.json", Scope.READ, show_description),)
