"""Every error of the API is one sentence in the form of RFC 9457, application/problem+json."""

from __future__ import annotations

import sqlite3
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA = "application/problem+json"


class ProblemDetails(msgspec.Struct, frozen=True):
    """Why a request was refused, or failed."""

    title: str  # of the status, such as "Not Found"
    status: int
    detail: str  # one sentence: where, value, rule, remedy
    type: str = "about:blank"


def problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """The answer of an error."""
    found = ProblemDetails(HTTPStatus(status).phrase, status, sentence)
    return Response(msgspec.json.encode(found), status, headers, media_type=MEDIA)


async def refusal(_: Request, error: Exception) -> Response:
    """What a handler, or the choice of the route, refuses."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, dict(error.headers or {}))


async def no_history(_: Request, error: Exception) -> Response:
    """The database is locked, or can't be read."""
    return problem(503, f"the history can't be read now ({error}); ask again")


async def failure(_: Request, error: Exception) -> Response:
    """An error of our own."""
    return problem(500, f"the daemon failed on this request ({type(error).__name__}); its log says more")


HANDLERS = {HTTPException: refusal, sqlite3.Error: no_history, Exception: failure}
