"""`_trainwarden.py -m monitor serve`: how `trainwarden run` starts a daemon, blind to the user's own import path."""

from __future__ import annotations

import argparse

from monitor.client.port import DEFAULT_PORT
from monitor.daemon.main import IDLE_EXIT_S, DaemonOptions, main


def _options() -> DaemonOptions:
    parser = argparse.ArgumentParser(prog="python -m monitor")
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", help="run the daemon")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help="of /metrics, on 127.0.0.1")
    serve.add_argument("--detached", action="store_true", help="log to a file, take any port, leave when idle")
    serve.add_argument(
        "--idle-exit-s", type=float, default=IDLE_EXIT_S, help="leave this long after the last run ended"
    )
    given = parser.parse_args()
    return DaemonOptions(port=given.port, detached=given.detached, idle_exit_s=given.idle_exit_s)


if __name__ == "__main__":
    raise SystemExit(main(_options()))
