"""Who may come in over the port. The loopback address is no boundary.

Web pages reach it by rebinding a name, and other users of the host by its number. So the port answers only to its own
names and to its own pages, gives no cross-origin leave, and asks for a token as the table of routes says.
"""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.daemon.api.endpoint import MAY_CHANGE, Door, Endpoint
from monitor.daemon.api.problem import problem
from monitor.daemon.api.sessions import Keys, Names, Sessions
from monitor.daemon.api.token import TOKEN_NAME

READS = {"GET", "HEAD"}
HOW = (
    f"send 'Authorization: Bearer TOKEN' with the text of {TOKEN_NAME} in the daemon's folder, open the page with the "
    "link of `trainwarden page`, or use the trainwarden command"
)
NAMED = "this server answers to 127.0.0.1 and localhost with its port, and to what `trainwarden page --at` names"


class Guard:
    """ASGI: only requests that name this very address, and through each door only who may."""

    def __init__(self, app: ASGIApp, endpoints: list[Endpoint], names: Names, keys: Keys, sessions: Sessions) -> None:
        self._app, self._endpoints = app, endpoints
        self._names, self._keys, self._sessions = names, keys, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refused = self._refused(scope)
            app = problem(*refused) if refused else self._app
            await app(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the sentence; None: come in."""
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or not self._names.is_host(hosts[0]):
            return 421, NAMED
        if not all(self._names.is_origin(origin) for origin in origins):
            return 403, "this server answers to its own pages only, and the Origin of this request is another"
        door = self._door(scope["method"], scope["path"])
        if door == Door.LOCAL and scope["method"] not in READS:
            return 403, "this is not for TCP; use the trainwarden command, or the Unix socket"
        return None if door == Door.OPEN else self._token_refused(scope, door, by_page=bool(origins))

    def _token_refused(self, scope: Scope, door: Door, *, by_page: bool) -> tuple[int, str] | None:
        bearers, cookie = _values(scope, b"authorization"), self._cookie(scope)
        scope[MAY_CHANGE] = self._knows(self._keys.change, bearers, cookie)
        if scope[MAY_CHANGE]:
            if door == Door.CHANGE and not bearers and not by_page:  # a browser names the page that asks
                return 403, "a change by cookie needs the header Origin"
            return None
        if not self._knows(self._keys.read, bearers, cookie):
            return 401, f"this needs a token; {HOW}"
        return None if door != Door.CHANGE else (403, f"this token is only for looking; {HOW}")

    def _door(self, method: str, path: str) -> Door:
        """What is in no row of the table is no secret, and nothing to be tried out either."""
        found = [one.door for one in self._endpoints if one.serves(method, path)]
        return found[0] if found else Door.READ if method in READS else Door.CHANGE

    def _knows(self, key: str, bearers: list[bytes], cookie: str) -> bool:
        if bearers:  # who sends a header means it
            return len(bearers) == 1 and hmac.compare_digest(bearers[0], f"Bearer {key}".encode())
        return bool(cookie) and self._sessions.holds(cookie, key)

    def _cookie(self, scope: Scope) -> str:
        """That of our session; empty: there is none."""
        pairs = [one.strip().partition(b"=") for value in _values(scope, b"cookie") for one in value.split(b";")]
        name = self._sessions.cookie.encode()
        return next((value.decode("latin-1") for found, _, value in pairs if found == name), "")


def _values(scope: Scope, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]
