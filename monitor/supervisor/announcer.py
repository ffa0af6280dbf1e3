"""Keeps a daemon running and tells it of the run, in a thread of its own: whatever it does, the training never waits.

Every announcement is idempotent. One that the daemon has not taken stays in the queue; a daemon that is another one
than before is told of the run and of its present generation again.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import _trainwarden
from monitor.supervisor.daemon_link import DaemonDown, Link, Refusal
from monitor.supervisor.terminal import Voice
from trainer_hooks.wire.runfolder import ENV_HOME, control_socket, state_home

PORT = 9469
START_S = 10.0  # a daemon that replays its journal on a slow disk takes two
RETRY_S = 5.0
RETRY_MAX_S = 60.0  # a daemon that can't stay up must not fill the machine with starts
HEARTBEAT_S = 2.0
HEALTH_S = 2.0  # a live daemon answers at once; the training's start waits for this
EXIT_TAKEN = 73  # of a daemon that finds another one in its place
QUEUE_MAX = 200  # announcements kept for a daemon that is away: some fifty generations


@dataclass(frozen=True, slots=True)
class Announcement:
    """One POST."""

    path: str
    body: dict[str, Any]
    present: bool = False  # the state of things: another daemon has to be told it as well


class DaemonKeeper:
    """Joins the user's daemon, or starts it. `child` is the pid of the one we started, for whoever reaps."""

    def __init__(self, link: Link, port: int, argv: tuple[str, ...] = ()) -> None:
        self.port = port  # of the last daemon that answered: the next one takes it, for whoever scrapes it
        self._link = link
        self._argv = argv or tuple(_trainwarden.child_command("monitor", "serve", "--detached", "--port"))
        self._ours = not argv
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    def health(self) -> dict[str, Any]:
        """Of the daemon that answers. Raises DaemonDown."""
        if self._process is not None:
            self._process.poll()  # reaps it if it is dead
        answer = self._link.get("/api/v1/health", HEALTH_S)
        if not isinstance(answer, dict):
            raise DaemonDown("what answers on the socket is no trainwarden daemon")
        self.port = int(answer.get("port", self.port))
        return answer

    def ensure(self, closing: threading.Event) -> dict[str, Any]:
        """The health of a daemon that answers within START_S. Raises DaemonDown."""
        try:
            return self.health()
        except DaemonDown:
            if self.child is None:
                self._start()
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                return self.health()
            except DaemonDown as error:
                if self._failed() or time.monotonic() > deadline_s or closing.wait(0.05):
                    raise DaemonDown(self._last_words() or str(error)) from error

    def _start(self) -> None:
        home = state_home().resolve()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAINWARDEN_")}
        if ENV_HOME in os.environ:
            environment[ENV_HOME] = str(home)
        try:
            with (home / "daemon-start.log").open("wb") as log:
                self._process = subprocess.Popen(
                    (*self._argv, str(self.port)) if self._ours else self._argv,
                    cwd=home,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise DaemonDown(f"{self._argv[0]}: {error.strerror}") from error

    def _failed(self) -> bool:
        """True where our daemon ended, and not because another's was first: then that one answers soon."""
        return self._process is not None and self._process.returncode not in (None, EXIT_TAKEN)

    def _last_words(self) -> str:
        if self.child is not None or self._process is None:
            return ""
        try:
            lines = (state_home() / "daemon-start.log").read_text(errors="replace").splitlines()
        except OSError:  # nothing to quote
            return ""
        return f"it ended with exit code {self._process.returncode}: {lines[-1] if lines else 'no message'}"


class Announcer:
    """The thread. start(), wait_ready(), any number of tell(), close()."""

    def __init__(self, run: str, voice: Voice, port: int = PORT, daemon_argv: tuple[str, ...] = ()) -> None:
        self._run = run
        self._voice = voice
        self._port = port
        self.keeper = DaemonKeeper(Link(control_socket()), port, daemon_argv)
        self._link = Link(control_socket())
        self._queue: deque[Announcement] = deque(maxlen=QUEUE_MAX)
        self._present: Announcement | None = None  # the last of its kind that was taken
        self._known: tuple[Any, ...] | None = None  # pid and start of the daemon that knows of us
        self._wake = threading.Event()
        self._tried = threading.Event()
        self._closing = threading.Event()
        self._abandon = threading.Event()
        self._down = False
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_ready(self, timeout_s: float = START_S + 2.0) -> None:
        """Until a daemon knows of the run, or could not be had, or the time is over."""
        self._tried.wait(timeout_s)

    def tell(self, what: str, body: dict[str, Any], present: bool = False) -> None:
        """Announce, in order. Returns at once."""
        self._queue.append(Announcement(f"/api/v1/runs/{self._run}/{what}", body, present))
        self._wake.set()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Deliver what is waiting, within the time. True: the daemon knows everything."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        self._abandon.set()
        return not self._queue

    def _work(self) -> None:
        delay_s = RETRY_S
        while not self._abandon.is_set():
            try:
                self._turn()
                delay_s = RETRY_S
                pause_s = HEARTBEAT_S
            except DaemonDown as error:
                died = self._known is not None  # it knew of us: another one is started as soon as a heartbeat would
                self._lost(error)
                pause_s, delay_s = (HEARTBEAT_S, delay_s) if died else (delay_s, min(delay_s * 2, RETRY_MAX_S))
            except Exception as error:  # noqa: BLE001 - the edge of this thread: supervision goes on without a daemon
                self._lost(DaemonDown(f"{type(error).__name__}: {error}"))
                pause_s, delay_s = delay_s, min(delay_s * 2, RETRY_MAX_S)
            self._tried.set()
            if self._closing.is_set() and (self._down or not self._queue):
                return
            self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        """While a daemon is there, an announcement ends the pause; a missing one is not asked for more often."""
        if self._down:
            self._closing.wait(seconds)
        else:
            self._wake.wait(seconds)
        self._wake.clear()

    def _turn(self) -> None:
        health = self.keeper.ensure(self._closing)
        known = (health.get("pid"), health.get("started_s"))
        if known != self._known:
            self._post(Announcement("/api/v1/runs", {"run": self._run}))
            if self._present:
                self._post(self._present)
            self._found(health, again=self._down or self._known is not None)
            self._known = known
        while self._queue:
            announcement = self._queue[0]
            self._post(announcement)
            self._present = announcement if announcement.present else self._present
            self._queue.popleft()

    def _post(self, announcement: Announcement) -> None:
        try:
            self._link.post(announcement.path, announcement.body)
        except Refusal as refusal:
            self._voice.notify(f"the daemon refused {announcement.path.rpartition('/')[2]}: {refusal}", "warning")

    def _found(self, health: dict[str, Any], again: bool) -> None:
        port = health.get("port")
        other = "" if self._port in (0, port) else f" (not {self._port}: it is taken, or that daemon was there before)"
        self._down = False
        back = "the daemon is back; " if again else ""
        self._voice.notify(f"{back}watching run {self._run}, metrics at http://127.0.0.1:{port}/metrics{other}")

    def _lost(self, error: DaemonDown) -> None:
        if not self._down and not self._closing.is_set():
            self._voice.notify(
                f"the daemon can't be reached ({error}): the training goes on UNSUPERVISED, trying again from now on",
                "warning",
            )
        self._down = True
        self._known = None
