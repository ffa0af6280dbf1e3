"""The OpenAPI document, made from the table of routes. Pure."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from monitor.client.port import DEFAULT_PORT
from monitor.daemon.api import problem
from monitor.daemon.api.endpoint import JSON, Door, Endpoint, NoQuery
from trainer_hooks.wire.runfolder import RUN_ID

PATH = "/api/v1/openapi.json"
PAGE = "text/html"  # the files of the page do not belong to the API
REF = "#/components/schemas/{name}"
ABOUT = (
    "The live state of trainings that trainwarden watches. docs/api.md says what this document can't: "
    "the events of /api/v1/events, pages of lists, who may ask for what."
)
WHO = {
    Door.OPEN: "Open to every user of this host.",
    Door.READ: "Over TCP with either token.",
    Door.CHANGE: "Over TCP with the token that may change something.",
    Door.LOCAL: "Only over the Unix socket.",
}
SECURITY: dict[Door, list[dict[str, list[str]]]] = {
    Door.READ: [{"token": []}, {"session": []}, {"readToken": []}],
    Door.CHANGE: [{"token": []}, {"session": []}],
}
SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "The text of api.token in the daemon's folder."},
    "readToken": {"type": "http", "scheme": "bearer", "description": "The text of read.token: it may only look."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": f"trainwarden_{DEFAULT_PORT}",
        "description": "The cookie that a link of `trainwarden page` gives; the port stands in its name.",
    },
}


def with_document(endpoints: list[Endpoint], version: str) -> list[Endpoint]:
    """The table, and the route of the document about the whole of it."""

    @functools.cache  # made when it is first asked for: a daemon's start does not wait for it
    def made() -> dict[str, Any]:
        return document([one for one in every if not one.media.startswith(PAGE)], version)

    async def openapi(_: Request) -> dict[str, Any]:
        """This document: every route, what it takes and answers."""
        return made()

    every = [*endpoints, Endpoint(Door.OPEN, "GET", PATH, openapi)]
    return every


def document(endpoints: list[Endpoint], version: str) -> dict[str, Any]:
    """OpenAPI 3.1, of these routes."""
    found = [kind for one in endpoints for kind in (one.asked, one.given, one.answers) if _is_json(kind)]
    schemas, components = msgspec.json.schema_components([*found, problem.ProblemDetails], ref_template=REF)
    by_kind = {id(kind): schema for kind, schema in zip([*found, problem.ProblemDetails], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, by_kind, components)
    taken = _taken(endpoints)
    answered = {name: _with_null(schema) for name, schema in components.items() if name not in taken}
    return {
        "openapi": "3.1.0",
        "info": {"title": "trainwarden", "version": version, "description": ABOUT},
        "servers": [{"url": f"http://127.0.0.1:{DEFAULT_PORT}"}],
        "paths": paths,
        "components": {"schemas": components | answered, "securitySchemes": SCHEMES},
    }


def _is_json(kind: Any) -> bool:
    """True for what is described by a schema; a handler that answers a Response says only its media type."""
    return kind is not None and kind is not Response


def _operation(one: Endpoint, by_kind: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(one.handler) or "").partition("\n")
    content = {"schema": _with_null(by_kind[id(one.answers)])} if id(one.answers) in by_kind else {}
    made: dict[str, Any] = {
        "operationId": one.handler.__name__,
        "summary": summary,
        "description": f"{more.strip()}\n\n{WHO[one.door]}".strip(),
        "parameters": [*_in_path(one), *_in_query(one, components)],
        "responses": {
            "200": {"description": "It is so.", "content": {one.media.partition(";")[0]: content}},
            "default": {
                "description": "Why not.",
                "content": {problem.MEDIA: {"schema": by_kind[id(problem.ProblemDetails)]}},
            },
        },
    }
    if one.media == JSON and not one.changes:
        made["responses"]["304"] = {"description": "It is what `If-None-Match` names."}
    if one.given:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": by_kind[id(one.given)]}}}
    if one.door in SECURITY:
        made["security"] = SECURITY[one.door]
    return made


def _in_path(one: Endpoint) -> list[dict[str, Any]]:
    known = {"run": {"type": "string", "pattern": f"^{RUN_ID.pattern}$"}}
    return [
        {"name": name, "in": "path", "required": True, "schema": known.get(name, {"type": "string"})}
        for name in re.findall(r"{(\w+)}", one.path)
    ]


def _in_query(one: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    if one.asked in {None, NoQuery}:
        return []
    schema = components[one.asked.__name__]
    about = inspect.getdoc(one.asked) or ""
    return [
        {"name": name, "in": "query", "required": False, "schema": _given_as_text(part), "description": about}
        for name, part in schema["properties"].items()
    ]


def _given_as_text(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out where it is not known; it can't be null."""
    others = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    kept = {name: value for name, value in schema.items() if name != "anyOf" and value is not None}
    return kept | (others[0] if others else {})


def _with_null(schema: Any) -> Any:
    """JSON has no NaN and no infinity: in an answer such a number is null."""
    if isinstance(schema, list):
        return [_with_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _with_null(one) for name, one in schema.items()}
    return found | {"type": ["number", "null"]} if found.get("type") == "number" else found


def _taken(endpoints: list[Endpoint]) -> set[str]:
    """The names of schemas that a request has and no answer."""
    given = [kind for one in endpoints for kind in (one.asked, one.given) if _is_json(kind)]
    answered = [one.answers for one in endpoints if _is_json(one.answers)]
    _, sent = msgspec.json.schema_components(given, ref_template=REF)
    _, back = msgspec.json.schema_components(answered, ref_template=REF)
    return set(sent) - set(back)
