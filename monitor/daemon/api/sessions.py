"""How a browser gets in: a link that works once gives it a cookie. An edge file: reads the clock, draws random numbers.

A cookie says until when it holds and is signed with one of the two tokens, so nothing is kept of it: removing the file
of that token ends every session that was begun with it.
"""

from __future__ import annotations

import hmac
import secrets
import time
from urllib.parse import urlsplit

import msgspec

LINK_S = 600.0  # until a link that nobody used is worth nothing
LINKS_MAX = 16  # waiting to be used; beyond it the oldest goes
SESSION_S = 7 * 86400.0
NAMES_MAX = 8  # addresses beside the loopback under which the page is reached; beyond it the oldest goes


class Keys(msgspec.Struct, frozen=True):
    """The two tokens: `change` opens every door of the port, `read` those of the reads."""

    change: str
    read: str


class Link(msgspec.Struct, frozen=True):
    """Open `url` in a browser: it works once, until `until_s` (Unix time)."""

    url: str
    until_s: float
    view_only: bool


class Names:
    """Under which addresses the port answers: its own, and those that its user named."""

    def __init__(self, port: int) -> None:
        self._own = {f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self._named: dict[str, None] = {}

    def add(self, origin: str) -> None:
        """Such as https://box.example: a proxy of the user passes its requests on."""
        self._named.pop(origin, None)
        self._named[origin] = None
        while len(self._named) > NAMES_MAX:
            del self._named[next(iter(self._named))]

    def is_origin(self, origin: bytes) -> bool:
        return origin.decode("latin-1").lower() in self._own | self._named.keys()

    def is_host(self, host: bytes) -> bool:
        return host.decode("latin-1").lower() in {urlsplit(one).netloc for one in (*self._own, *self._named)}


class Sessions:
    """Links that wait to be used, and the cookies they give."""

    def __init__(self, keys: Keys, port: int) -> None:
        self._keys, self._links = keys, dict[str, tuple[float, bool, bool]]()
        self.cookie = f"trainwarden_{port}"  # a browser sends it to every port of the host

    def link(self, address: str, *, view_only: bool) -> Link:
        """A new link below `address`."""
        code, until_s = secrets.token_urlsafe(24), time.time() + LINK_S
        self._links[code] = (until_s, view_only, address.startswith("https:"))
        while len(self._links) > LINKS_MAX:
            del self._links[next(iter(self._links))]
        return Link(f"{address}/-/enter?code={code}", until_s, view_only)

    def enter(self, code: str) -> str | None:
        """The Set-Cookie for who comes with a link; None: it was used, or is too old."""
        until_s, view_only, secure = self._links.pop(code, (0.0, False, False))
        if time.time() > until_s:
            return None
        value = _signed(self._keys.read if view_only else self._keys.change, int(time.time() + SESSION_S))
        end = "; Secure" if secure else ""
        return f"{self.cookie}={value}; Path=/; Max-Age={SESSION_S:.0f}; HttpOnly; SameSite=Strict{end}"

    def holds(self, cookie: str, key: str) -> bool:
        """True for a cookie that was signed with this token and is not over."""
        until = cookie.partition(".")[0]
        if not (until.isascii() and until.isdigit() and len(until) < len(str(1 << 50))):
            return False
        known = _signed(key, int(until)).encode()
        return hmac.compare_digest(known, cookie.encode()) and time.time() < int(until)


def _signed(key: str, until_s: int) -> str:
    return f"{until_s}.{hmac.digest(key.encode(), f'session until {until_s}'.encode(), 'sha256').hex()}"
