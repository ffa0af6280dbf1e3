"""A second port for /metrics and the probes alone, on any address: for a Prometheus or a kubelet elsewhere.

The port of the API stays on the loopback. What is shown here holds no path, no command line and no log line.
"""

from __future__ import annotations

import hmac
import socket
import ssl

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.daemon.api.endpoint import Endpoint, application
from monitor.daemon.api.problem import problem
from monitor.daemon.api.server import BACKLOG
from monitor.errors import EXIT_CONFIG, DaemonError

METRICS = "/metrics"
SHOWN = (METRICS, "/-/healthy", "/-/ready")


class MetricsPort(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, and who may look."""

    host: str
    port: int
    token: str = ""  # /metrics asks for it; empty: for none
    certificate: str = ""  # path of a PEM file; empty: no TLS
    key: str = ""  # path; empty: it is in the certificate's file


class MetricsPortError(DaemonError):
    """The address can't be listened on, or the certificate can't be used."""

    exit_code = EXIT_CONFIG


def bound(wanted: MetricsPort) -> socket.socket:
    """A listening socket. Raises MetricsPortError, also for a certificate that can't be used."""
    _check_tls(wanted)
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    try:
        return socket.create_server((wanted.host, wanted.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise MetricsPortError(
            f"--metrics-listen {wanted.host}:{wanted.port}: can't be listened on ({error.strerror}); write another "
            "address"
        ) from error


def metrics_application(endpoints: list[Endpoint], token: str) -> ASGIApp:
    """The three routes."""
    inner: Starlette = application([one for one in endpoints if one.path in SHOWN])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        known = len(given) == 1 and hmac.compare_digest(given[0], f"Bearer {token}".encode())
        if token and scope["path"] == METRICS and not known:
            await problem(401, "this needs the token that `trainwarden serve --metrics-token-file` names")(
                scope, receive, send
            )
            return
        await inner(scope, receive, send)

    return app


def _check_tls(wanted: MetricsPort) -> None:
    """Raises MetricsPortError where the certificate and its key can't be used."""
    if not wanted.certificate:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(wanted.certificate, wanted.key or None)
    except (OSError, ssl.SSLError) as error:
        raise MetricsPortError(
            f"--tls-certificate {wanted.certificate}: can't be used ({error}); name a PEM file, and its key with "
            "--tls-key"
        ) from error
