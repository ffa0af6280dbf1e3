"""An HTTP transport that connects to no link-local address. Imported with httpx, for the first alert. Opens sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ssl import SSLContext

import anyio
import httpcore
import httpx

from alerts.link_local import LinkLocalRefusedError, is_link_local


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once, judges every address, and connects to one of those it has judged."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        if any(map(is_link_local, addresses)):
            raise LinkLocalRefusedError
        for number, address in enumerate(addresses, start=1):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError("the name has no address")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport, whose connections are made by GuardedBackend. TLS still checks the name."""

    def __init__(self, verify: SSLContext | bool) -> None:
        super().__init__(verify=verify)
        context = verify if isinstance(verify, SSLContext) else httpx.create_ssl_context(verify=verify)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, keepalive_expiry=5.0, network_backend=GuardedBackend()
        )
