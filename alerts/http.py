"""The one file that opens a URL. Time and size are capped; no error or repr shows a URL or a secret.

Loopback and private addresses are allowed, and so is plain http: a URL comes only from the user's own policy file,
never from a run, a record or the API, so it can reach nothing that its author could not reach anyway. Link-local ones
(169.254.0.0/16, fe80::/10) are refused unless the policy lists them: a cloud machine's keys are had there. The address
is judged when it is connected to, so that a name which changes its address leads nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from socket import gaierror
from ssl import SSLContext, SSLError
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec
from typing_extensions import Self

from alerts.link_local import LinkLocalRefusedError, is_link_local
from alerts.secret import Secret

if TYPE_CHECKING:
    import httpx

BODY_BYTES_MAX = 256 * 1024
NAME_UNKNOWN = "no address is known for the host's name: correct it, or look at the network"
HEADER_CHARS_MAX = 100  # of a Retry-After we look at: a date has 29


class Reply(msgspec.Struct, frozen=True):
    """The part of a server's answer that we read: never its body."""

    status: int
    retry_after: str = ""  # as sent, cut; empty: none


class TransportError(Exception):
    """No answer came. Says what went wrong in words of ours, without address."""


class Http:
    """A client, open within `async with`. Follows no redirect. Uses the proxy the environment names, if any.

    httpx is imported for the first alert: that takes a fifth of a daemon's start, and most daemons send none. It is
    imported in a thread: 0.1 s is long for a loop that takes the records of every run.
    """

    def __init__(self, verify: SSLContext | bool = True) -> None:
        self._verify = verify
        self._clients: dict[bool, httpx.AsyncClient] = {}  # by whether link-local addresses are allowed
        self._open = False

    async def __aenter__(self) -> Self:
        for name in ("httpx", "httpcore"):  # they log every URL at INFO, and a webhook's URL is a secret
            logging.getLogger(name).setLevel(logging.WARNING)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def post(
        self, url: Secret, body: bytes, headers: Mapping[str, str], timeout_s: float, *, link_local: bool = False
    ) -> Reply:
        """The server's status. Raises TransportError where none came within `timeout_s` over all, connecting included.

        `link_local`: the policy allows this URL to lead to a link-local address.

        The answer's body is left unread: at most the 64 KiB that arrive with its header are held, then it is closed.
        """
        assert self._open, "use it within `async with`"
        assert len(body) <= BODY_BYTES_MAX, f"{len(body)} bytes to send: the limit is {BODY_BYTES_MAX}"
        if not link_local and is_link_local(urlsplit(url.reveal()).hostname or ""):  # also where a proxy connects
            raise TransportError(str(LinkLocalRefusedError()))
        client = await self._client(link_local)
        import httpx  # noqa: PLC0415 - see above

        try:
            with anyio.fail_after(timeout_s):
                async with (
                    client.stream(
                        "POST", url.reveal(), content=body, headers=dict(headers), timeout=timeout_s
                    ) as response,
                ):
                    return Reply(response.status_code, response.headers.get("retry-after", "")[:HEADER_CHARS_MAX])
        except LinkLocalRefusedError as error:
            raise TransportError(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise TransportError(_what_happened(error, timeout_s)) from None  # the cause holds the URL

    async def _client(self, link_local: bool) -> httpx.AsyncClient:
        if link_local not in self._clients:
            made = await anyio.to_thread.run_sync(_make_client, self._verify, link_local)
            if link_local in self._clients:  # two first alerts at once
                await made.aclose()
            else:
                self._clients[link_local] = made
        return self._clients[link_local]


def _make_client(verify: SSLContext | bool, link_local: bool) -> httpx.AsyncClient:
    import httpx  # noqa: PLC0415 - see above

    from alerts.guarded_transport import GuardedTransport  # noqa: PLC0415 - it imports httpx

    client = httpx.AsyncClient(verify=verify, follow_redirects=False)
    if not link_local:  # not by `transport=`: with it httpx looks at no proxy of the environment
        client._transport = GuardedTransport(verify)
    return client


def _what_happened(error: Exception, timeout_s: float) -> str:
    import httpx  # noqa: PLC0415 - see above

    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, httpx.ConnectError):
        if _came_from(SSLError, error):
            return "TLS failed"
        return NAME_UNKNOWN if _came_from(gaierror, error) else "could not connect"
    if isinstance(error, httpx.ProxyError):
        return "the proxy refused"
    if isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        return "the connection broke before an answer"
    return f"could not be sent ({type(error).__name__})"


def _came_from(kind: type[BaseException], error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
