"""Joins the user's daemon, or starts one. Starts a process and waits for it; for the announcer's thread."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import _trainwarden
from monitor.client.http import Client, ClientError, SilentError, UnreachableError
from monitor.core.model.channel import Health
from monitor.errors import EXIT_TAKEN
from trainer_hooks.wire.runfolder import ENV_HOME, control_socket, state_home

START_S = 10.0  # a daemon that replays its journal on a slow disk takes two
POLL_S = 0.05
HEALTH_S = 2.0  # a live daemon answers at once; the training's start waits for this
OUTPUT_NAME = "daemon-start.log"


class DaemonKeeper:
    """Makes sure that a daemon answers."""

    def __init__(self, port: int, argv: tuple[str, ...] = ()) -> None:
        """`argv`: how to start a daemon; empty: this installation's."""
        self.port = port  # of the last daemon that answered: the next one takes it, so that scrapers find it again
        self._client = Client(control_socket(), HEALTH_S)
        self._argv = argv or tuple(_trainwarden.child_command("monitor", "serve", "--detached", "--port"))
        self._takes_port = not argv
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> int | None:
        """The pid of the daemon that we started, while it lives: whoever reaps our children must leave it out."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def health(self) -> Health:
        """Of the daemon that answers. Raises ClientError."""
        if self._process is not None:
            self._process.poll()  # reaps it if it is dead
        answer = self._client.get("/api/v1/health", Health)
        self.port = answer.port
        return answer

    def ensure(self, closing: threading.Event) -> Health:
        """The health of a daemon that answers within START_S, started if need be. Raises ClientError.

        `closing` ends the wait early. A daemon that is there and does not answer (a frozen one) is not waited for.
        """
        try:
            return self.health()
        except SilentError:
            raise
        except ClientError as error:
            why = error
        if self.child is None:
            self._start()
        deadline_s = time.monotonic() + START_S
        while not (self._failed() or time.monotonic() > deadline_s or closing.wait(POLL_S)):
            try:
                return self.health()
            except ClientError as error:
                why = error
        raise self._unreachable(why) from why

    def _start(self) -> None:
        home = state_home().resolve()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAINWARDEN_")}
        if ENV_HOME in os.environ:
            environment[ENV_HOME] = str(home)
        try:
            with (home / OUTPUT_NAME).open("wb") as output:
                self._process = subprocess.Popen(
                    (*self._argv, str(self.port)) if self._takes_port else self._argv,
                    cwd=home,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            why = f"{self._argv[0]}: {error.strerror}"
            raise UnreachableError(why, why) from error

    def _failed(self) -> bool:
        """True where the daemon we started has ended for another reason than that another daemon was first."""
        return self._process is not None and self._process.returncode not in (None, EXIT_TAKEN)

    def _unreachable(self, error: ClientError) -> UnreachableError:
        """The same error, with the last words of the daemon that we started in vain."""
        why = self._last_line() or (error.why if isinstance(error, UnreachableError) else str(error))
        return UnreachableError(why, why)

    def _last_line(self) -> str:
        if self.child is not None or self._process is None:
            return ""
        try:
            lines = (state_home() / OUTPUT_NAME).read_text(errors="replace").splitlines()
        except OSError:  # nothing to quote
            return ""
        return f"it ended with exit code {self._process.returncode}: {lines[-1] if lines else 'no message'}"
