"""`trainwarden serve`: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure
from monitor.client.port import DEFAULT_PORT

PORT_MAX = 65535


@click.command(
    cls=Command,
    examples=(
        "trainwarden serve",
        "trainwarden serve --port 9500",
    ),
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of /metrics and of the API. 0: any free port.",
)
@click.option(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="Also show /metrics and the probes on this address, for a Prometheus elsewhere. Nothing else is there.",
)
@click.option(
    "--metrics-token-file",
    type=click.Path(exists=True, dir_okay=False),
    help="/metrics on that address asks for the token in this file, as 'Authorization: Bearer TOKEN'.",
)
@click.option("--tls-certificate", type=click.Path(exists=True, dir_okay=False), help="That address speaks TLS (PEM).")
@click.option(
    "--tls-key", type=click.Path(exists=True, dir_okay=False), help="The key, where it has a file of its own."
)
def serve(
    port: int,
    metrics_listen: str | None,
    metrics_token_file: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
) -> int:
    """Run the daemon in the foreground until Ctrl-C.

    Each user has one daemon on a host. `trainwarden run` starts it by itself, so you rarely need this command.
    """
    from monitor.daemon.api.metrics_port import MetricsPort
    from monitor.daemon.main import DaemonOptions, main

    if metrics_listen is None:
        if metrics_token_file or tls_certificate or tls_key:
            raise Failure("these options are about --metrics-listen HOST:PORT; write it too", EXIT_USAGE)
        return main(DaemonOptions(port=port))
    if tls_key and not tls_certificate:
        raise Failure("--tls-key: belongs to a certificate; name it with --tls-certificate", EXIT_USAGE)
    host, _, number = metrics_listen.rpartition(":")
    if not host or not number.isdecimal() or int(number) > PORT_MAX:
        raise Failure(f"--metrics-listen {metrics_listen!r}: is not HOST:PORT; write it like 0.0.0.0:9470", EXIT_USAGE)
    metrics = MetricsPort(
        host=host.strip("[]"),
        port=int(number),
        token=_token(metrics_token_file) if metrics_token_file else "",
        certificate=tls_certificate or "",
        key=tls_key or "",
    )
    return main(DaemonOptions(port=port, metrics=metrics))


def _token(path: str) -> str:
    text = Path(path).read_text().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise Failure(f"--metrics-token-file {path}: holds no token; write one line of letters and digits", EXIT_USAGE)
    return text
