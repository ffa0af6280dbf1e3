"""The one file that opens a URL. Time and size are capped; no error or repr shows a URL or a secret.

Loopback and private addresses are allowed, and so is plain http: a URL comes only from the user's own policy file,
never from a run, a record or the API, so it can reach nothing that its author could not reach anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from ssl import SSLContext, SSLError
from types import TracebackType

import anyio
import httpx
import msgspec
from typing_extensions import Self

from alerts.secret import Secret

BODY_BYTES_MAX = 256 * 1024
HEADER_CHARS_MAX = 100  # of a Retry-After we look at: a date has 29


class Reply(msgspec.Struct, frozen=True):
    """The part of a server's answer that we read: never its body."""

    status: int
    retry_after: str = ""  # as sent, cut; empty: none


class TransportError(Exception):
    """No answer came. Says what went wrong in words of ours, without address."""


class Http:
    """A client, open within `async with`. Follows no redirect. Uses the proxy the environment names, if any."""

    def __init__(self, verify: SSLContext | bool = True) -> None:
        self._verify = verify
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        for name in ("httpx", "httpcore"):  # they log every URL at INFO, and a webhook's URL is a secret
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = httpx.AsyncClient(verify=self._verify, follow_redirects=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def post(self, url: Secret, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """The server's status. Raises TransportError where none came within `timeout_s` over all, connecting included.

        The answer's body is left unread: at most the 64 KiB that arrive with its header are held, then it is closed.
        """
        assert self._client is not None, "use it within `async with`"
        assert len(body) <= BODY_BYTES_MAX, f"{len(body)} bytes to send: the limit is {BODY_BYTES_MAX}"
        try:
            with anyio.fail_after(timeout_s):
                async with (
                    self._client.stream(
                        "POST", url.reveal(), content=body, headers=dict(headers), timeout=timeout_s
                    ) as response,
                ):
                    return Reply(response.status_code, response.headers.get("retry-after", "")[:HEADER_CHARS_MAX])
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise TransportError(_what_happened(error, timeout_s)) from None  # the cause holds the URL


def _what_happened(error: Exception, timeout_s: float) -> str:
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, httpx.ConnectError):
        return "TLS failed" if _came_from_tls(error) else "could not connect"
    if isinstance(error, httpx.ProxyError):
        return "the proxy refused"
    if isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        return "the connection broke before an answer"
    return f"could not be sent ({type(error).__name__})"


def _came_from_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
