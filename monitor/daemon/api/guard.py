"""Who may come in over the port. The loopback address is no boundary.

Web pages reach it by rebinding a name, and other users of the host by its number. So the port answers only to its own
names and to its own pages, gives no cross-origin leave, and asks for a token as the table of routes says.
"""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.daemon.api.endpoint import Door, Endpoint
from monitor.daemon.api.problem import problem
from monitor.daemon.api.server import LOOPBACK
from monitor.daemon.api.token import TOKEN_NAME

READS = {"GET", "HEAD"}


class Guard:
    """ASGI: only requests that name this very address, and through each door only who may."""

    def __init__(self, app: ASGIApp, endpoints: list[Endpoint], port: int, token: str) -> None:
        self._app, self._endpoints, self._wanted = app, endpoints, f"Bearer {token}".encode()
        names = [f"{name}:{port}" for name in (LOOPBACK, "localhost", "[::1]")]
        self._hosts = {name.encode() for name in names}
        self._origins = {f"http://{name}".encode() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refused = self._refused(scope)
            app = problem(*refused) if refused else self._app
            await app(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the sentence; None: come in."""
        hosts = [value.lower() for value in _values(scope, b"host")]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 421, f"this server answers to {LOOPBACK} and localhost, with its port"
        if any(origin not in self._origins for origin in _values(scope, b"origin")):
            return 403, "this server answers to its own pages only, and the Origin of this request is another"
        door = self._door(scope["method"], scope["path"])
        if door == Door.LOCAL:
            return 403, "this is not for TCP; use the trainwarden command, or the Unix socket"
        if door != Door.OPEN and not self._knows_token(scope):
            how = f"send 'Authorization: Bearer TOKEN' with the text of {TOKEN_NAME} in the daemon's folder"
            return 401, f"this needs a token; {how}, or use the trainwarden command"
        return None

    def _door(self, method: str, path: str) -> Door:
        """What is in no row of the table is no secret, and nothing to be tried out either."""
        found = [one.door for one in self._endpoints if one.serves(method, path)]
        return found[0] if found else Door.READ if method in READS else Door.CHANGE

    def _knows_token(self, scope: Scope) -> bool:
        given = _values(scope, b"authorization")
        return len(given) == 1 and hmac.compare_digest(given[0], self._wanted)


def _values(scope: Scope, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]
