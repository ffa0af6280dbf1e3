"""The routes by which a browser gets in: a link, made by `trainwarden page`, and what is behind it."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.daemon.api.endpoint import MAY_CHANGE, Door, Endpoint, NoQuery
from monitor.daemon.api.sessions import Link, Names, Sessions

ENTER = "/-/enter"


USED = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>trainwarden</title>
<h1>This link was used already, or is too old</h1>
<p>A link opens the page once, within ten minutes. Make another: <code>trainwarden page</code></p>
<p>A browser that was let in before needs none: <a href="/">open the page</a></p></html>
"""


class LinkAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `trainwarden page` asks for. `at`: the address under which a proxy serves the port; empty: its own."""

    view_only: bool = False
    at: str = ""


class Access(msgspec.Struct, frozen=True):
    """What who asks may do."""

    may_change: bool  # false: only look


class EnterQuery(NoQuery, frozen=True):
    """The code of a link."""

    code: str = ""


class PageLinks:
    """Makes links, and lets in who comes with one."""

    def __init__(self, sessions: Sessions, names: Names, port: int) -> None:
        self._sessions, self._names, self._own = sessions, names, f"http://127.0.0.1:{port}"

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(Door.READ, "GET", "/api/v1/access", self.access),
            Endpoint(Door.LOCAL, "POST", "/api/v1/links", self.make),
            Endpoint(Door.OPEN, "GET", ENTER, self.enter, "text/plain; charset=utf-8"),
        ]

    async def access(self, request: Request) -> Access:
        """Whether who asks may change something, so that a page shows its buttons or not."""
        return Access(request.scope.get(MAY_CHANGE, True))

    async def make(self, _: Request, given: LinkAsked) -> Link:
        """A link to the page that works once. Who opens it may do what the token may, or with `view_only` look."""
        if given.at:
            self._names.add(_origin(given.at))
        return self._sessions.link(_origin(given.at) if given.at else self._own, view_only=given.view_only)

    async def enter(self, request: Request, asked: EnterQuery) -> Response:
        """The page, with a cookie that lets in; 403 for a link that was used already."""
        cookie = self._sessions.enter(asked.code) if request.method == "GET" else None
        if cookie is None and "text/html" in request.headers.get("accept", ""):  # a person in a browser
            return Response(USED, 403, media_type="text/html")
        if cookie is None:
            raise HTTPException(403, "this link was used already, or is too old; make another: trainwarden page")
        headers = {"set-cookie": cookie, "cache-control": "no-store", "referrer-policy": "no-referrer"}
        return RedirectResponse("/", 303, headers)


def _origin(address: str) -> str:
    """The scheme, name and port of an address. Raises HTTPException for what is none."""
    parts = urlsplit(address.strip().lower().rstrip("/"))
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query or parts.username:
        raise HTTPException(422, f"at={address[:80]!r}: must be an address such as https://box.example, without a path")
    return f"{parts.scheme}://{parts.netloc}"
