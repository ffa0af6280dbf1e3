"""The daemon as a process: takes the locks and the port, logs, runs the parts, and says how it ended by its exit code.

An edge file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import os
import sqlite3
import sys
from pathlib import Path

import msgspec

from monitor.client.port import DEFAULT_PORT
from monitor.daemon.api.metrics_port import MetricsPort, bound
from monitor.daemon.api.server import bind_port
from monitor.daemon.assembly import Assembly
from monitor.daemon.singleton import only_daemon
from monitor.daemon.systemd import Systemd
from monitor.errors import EXIT_SOFTWARE, DaemonError
from trainer_hooks.wire import document_io, runfolder

IDLE_EXIT_S = 900.0
LOG_BYTES_MAX, LOG_FILES = 5_000_000, 2


class DaemonOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a daemon is started."""

    port: int = DEFAULT_PORT
    detached: bool = False  # started by `run`: takes another port where this is taken, logs to a file, leaves when idle
    metrics: MetricsPort | None = None  # None: /metrics is on the loopback alone
    idle_exit_s: float = IDLE_EXIT_S  # a detached daemon leaves this long after nothing was left to do


def main(options: DaemonOptions) -> int:
    """Run the daemon until a signal ends it, or it has nothing left to do. Returns the exit code.

    73: another daemon has the folder, or another process the port. 78: a folder can't be trusted. 70: the history
    failed under us, and a restart will read what is there. What a person must know goes to stderr in one sentence.
    """
    systemd = Systemd(os.environ)
    try:
        metrics = (options.metrics, bound(options.metrics)) if options.metrics is not None else None
        with only_daemon() as runtime, contextlib.closing(bind_port(options.port, or_another=options.detached)) as port:
            _log_to(runfolder.state_home() / "daemon.log" if options.detached else None)
            idle_exit_s = options.idle_exit_s if options.detached else None
            return asyncio.run(Assembly(runtime, port, idle_exit_s, systemd, metrics).run())
    except DaemonError as error:
        sys.stderr.write(f"trainwarden: {error}\n")
        return error.exit_code
    except document_io.RunFolderError as error:
        sys.stderr.write(f"trainwarden: {error}\n")
        return EXIT_SOFTWARE
    except (OSError, sqlite3.Error) as error:  # a disk that is full, or fails, or was taken away
        where = getattr(error, "filename", None) or runfolder.state_home()
        sys.stderr.write(f"trainwarden: {where}: {error}; free the disk or the file, then start again\n")
        return EXIT_SOFTWARE


def _log_to(path: Path | None) -> None:
    """Everything of ours to the file, or to the terminal. The file is bounded: nobody watches it."""
    handler: logging.Handler = logging.StreamHandler()
    if path:
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES - 1, encoding="utf-8", errors="backslashreplace"
        )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name, level in (("trainwarden", logging.INFO), ("uvicorn", logging.WARNING), ("asyncio", logging.WARNING)):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
