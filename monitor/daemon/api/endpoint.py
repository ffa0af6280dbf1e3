"""One row of the API's table, and what is the same for every route: parameters, body, pages of a list, ETag, gzip.

The types in a handler's signature say what it takes and answers: `asked` holds the query parameters, `given` the body.
The application, the check of tokens and the OpenAPI document are all made from these rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_type_hints

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, compile_path

from monitor.daemon.api.problem import HANDLERS
from trainer_hooks.wire.enums import StrEnum

FAR = 1 << 50  # further than any batch, and exact as a float
PAGE_MAX = 1000  # items of one part of a list
BODY_MAX = 64 * 1024  # bytes; the largest input is the stacks of one rank, 12 threads of 2,000 characters
BODY_S = 10.0  # for a whole body
GZIP_FROM = 1024  # bytes; a smaller answer fits one packet

JSON = "application/json"
MAY_CHANGE = "trainwarden.may_change"  # in the ASGI scope: whether who asks came with the token that may
Whole = Annotated[int, msgspec.Meta(ge=0)]  # as a parameter: FAR at most, whatever is sent
Handler = Callable[..., Awaitable[Any]]


class Door(StrEnum):
    """Who may come in over TCP. The Unix socket, in a folder that only its user may enter, lets everything in."""

    OPEN = "open"  # any user of this host
    READ = "read"  # who knows one of the two tokens
    CHANGE = "change"  # who knows the token that may change something
    LOCAL = "local"  # nobody


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route without parameters."""


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list: the whole of it without a limit. `Link` leads to the next part, `X-Total-Count` counts."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] | None = None
    offset: Whole = 0


class Endpoint:
    """A route: through which door, what it takes, what it answers."""

    def __init__(self, door: Door, method: str, path: str, handler: Handler, media: str = JSON) -> None:
        self.door, self.method, self.path, self.handler, self.media = door, method, path, handler, media
        hints = get_type_hints(handler)
        self.asked: Any = hints.get("asked") or (NoQuery if path.startswith("/api/") else None)
        self.given: Any = hints.get("given")
        self.answers: Any = hints["return"]
        self._pattern = compile_path(path)[0]

    @property
    def changes(self) -> bool:
        """True where it is not a read."""
        return self.method != "GET"

    def serves(self, method: str, path: str) -> bool:
        """True where a request is for this route."""
        return method.replace("HEAD", "GET") == self.method and bool(self._pattern.match(path))

    def route(self) -> Route:
        """As Starlette has it."""
        middleware = [Middleware(GZipMiddleware, minimum_size=GZIP_FROM, compresslevel=3)] if self.media == JSON else []
        return Route(self.path, self._respond, methods=[self.method], middleware=middleware)

    async def _respond(self, request: Request) -> Response:
        arguments: dict[str, Any] = {}
        asked = _asked(request, self.asked) if self.asked else None
        if self.asked not in {None, NoQuery}:
            arguments["asked"] = asked
        if self.given:
            arguments["given"] = decoded(request.url.path, await body_of(request), self.given)
        found = await self.handler(request, **arguments)
        if isinstance(found, Response):
            return found
        return as_json(request, found, asked if isinstance(asked, Page) else None)


def application(endpoints: list[Endpoint], *more: BaseRoute) -> Starlette:
    """An ASGI application whose errors are problem+json; `more` are routes outside the table, asked last."""
    return Starlette(routes=[*(one.route() for one in endpoints), *more], exception_handlers=HANDLERS)


def as_json(request: Request, found: Any, page: Page | None = None) -> Response:
    """The value with its ETag, or 304 where the client has it; of a list the part that `page` asks for."""
    headers = {"cache-control": "no-cache"}
    if page:
        headers["x-total-count"] = str(len(found))
        end = page.offset + page.limit if page.limit else len(found)
        if end < len(found):
            headers["link"] = f'<{request.url.include_query_params(offset=end)}>; rel="next"'
        found = found[page.offset : end]
    body = msgspec.json.encode(found)
    headers["etag"] = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if request.method in {"GET", "HEAD"} and headers["etag"] in known:
        return Response(None, 304, headers)
    return Response(body, 200, headers, media_type=JSON)


def _asked(request: Request, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The query parameters, each known, given once, and in its range."""
    pairs = request.query_params.multi_items()
    given = {name: _near(value) for name, value in pairs}
    known = kind.__struct_encode_fields__
    for name in given:
        if name not in known:
            rule = f"it takes {', '.join(known)}" if known else "it takes none"
            raise HTTPException(400, f"{request.url.path}: {name[:40]!r} is an unknown parameter; {rule}")
    if len(given) < len(pairs):
        twice = ", ".join(sorted({name for name, _ in pairs if request.query_params.getlist(name)[1:]}))
        raise HTTPException(400, f"{request.url.path}: {twice}: may be given once")
    try:
        return msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        shown = ", ".join(f"{name}={value[:40]!r}" for name, value in given.items())
        raise HTTPException(400, f"{request.url.path}: {shown}: {error}") from error


def _near(text: str) -> str:
    """A number that is further than any batch as one that SQLite takes; every other text as it is."""
    try:
        return str(FAR) if FAR < float(text) < math.inf else text
    except ValueError:
        return text


async def body_of(request: Request) -> bytes:
    """The body, within its limits of size and time."""
    data = bytearray()
    try:
        with anyio.fail_after(BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > BODY_MAX:
                    raise HTTPException(413, f"{request.url.path}: the body is over {BODY_MAX} bytes")
    except TimeoutError as error:
        raise HTTPException(408, f"{request.url.path}: the body did not come within {BODY_S:.0f} s") from error
    return bytes(data)


def decoded(where: str, data: bytes, kind: Any) -> Any:
    """The body as a `kind`. JSON knows one sort of number: 566.0 is the whole number 566."""
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError:
            return msgspec.convert(_whole_numbers(msgspec.json.decode(data)), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"{where}: the body is not an input that a client may send ({error})") from error


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
