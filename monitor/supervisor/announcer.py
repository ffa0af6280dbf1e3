"""Sends the run's inputs to the daemon and keeps a daemon running, in a thread: the training never waits for either.

An input that the daemon has not taken stays in the queue. Sending one twice changes nothing. A daemon that is not the
one from before gets the announcement of the run and of its present generation again.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque

from monitor.client.http import Client, ClientError, DeclinedError, UnreachableError, run_path
from monitor.client.port import DEFAULT_PORT
from monitor.core.model import GenerationExited, GenerationStarted, Severity
from monitor.core.model.channel import Health, RunAnnounced, SupervisorInput, kind_of
from monitor.supervisor.daemon_keeper import DaemonKeeper
from monitor.supervisor.terminal import TerminalOutput
from trainer_hooks.wire.runfolder import control_socket

RETRY_S = 5.0
RETRY_MAX_S = 60.0  # a daemon that can't stay up must not fill the machine with starts
HEARTBEAT_S = 2.0
POST_S = 5.0  # a commit takes 0.05 s; a daemon on a full disk must not hold up the end of the run
READY_S = 5.0  # for a daemon that is started just now: it takes one or two; a frozen one is given up after HEALTH_S
QUEUE_MAX = 200  # inputs kept for a daemon that is away: some fifty generations. The oldest give way, and are counted


class Announcer:
    """The thread. start(), wait_ready(), any number of send(), close()."""

    def __init__(
        self, run: str, output: TerminalOutput, port: int = DEFAULT_PORT, daemon_argv: tuple[str, ...] = ()
    ) -> None:
        """`port`: that the user asked for; 0: any. `daemon_argv`: see DaemonKeeper."""
        self._run = run
        self._output = output
        self._port = port
        self.keeper = DaemonKeeper(port, daemon_argv)
        self._client = Client(control_socket(), POST_S)
        self._queue: deque[SupervisorInput] = deque()
        self._queue_changes = threading.Lock()
        self._given_up = 0  # inputs that no daemon will get
        self._generation: GenerationStarted | GenerationExited | None = None  # the last such input that was taken
        self._known: tuple[int, float] | None = None  # pid and start of the daemon that knows of the run
        self._wake = threading.Event()
        self._tried = threading.Event()
        self._closing = threading.Event()
        self._abandon = threading.Event()
        self._down = False
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def down(self) -> bool:
        """True while no daemon answers."""
        return self._down

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Until a daemon knows of the run, or could not be had, or the time is over: training comes first."""
        self._tried.wait(timeout_s)

    def send(self, given: SupervisorInput) -> None:
        """Queue it, in order. Returns at once."""
        with self._queue_changes:
            self._queue.append(given)
            if len(self._queue) > QUEUE_MAX:
                self._queue.popleft()
                self._given_up += 1
        self._wake.set()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Deliver what is waiting, within the time. True: the daemon has everything."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        self._abandon.set()
        return not self._queue

    def _work(self) -> None:
        delay_s = RETRY_S
        while not self._abandon.is_set():
            try:
                self._deliver()
                delay_s = RETRY_S
                pause_s = HEARTBEAT_S
            except Exception as error:  # noqa: BLE001 - the edge of this thread: supervision goes on without a daemon
                died = self._known is not None and isinstance(error, ClientError)  # then start another one soon
                self._lost(error)
                pause_s, delay_s = (HEARTBEAT_S, delay_s) if died else (delay_s, min(delay_s * 2, RETRY_MAX_S))
            self._tried.set()
            if self._closing.is_set() and (self._down or not self._queue):
                return
            self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        """A new input ends the pause while a daemon is there; a missing daemon is not tried more often for it."""
        if self._down:
            self._closing.wait(seconds)
        else:
            self._wake.wait(seconds)
        self._wake.clear()

    def _deliver(self) -> None:
        """Announce the run to a daemon that does not know it yet, then send what is queued. Raises ClientError."""
        health = self.keeper.ensure(self._closing)
        known = (health.pid, health.started_s)
        if known != self._known:
            self._post(RunAnnounced(self._run))
            if self._generation:
                self._post(self._generation)
            self._found(health, again=self._down or self._known is not None)
            self._known = known
            self._wake_at_end_of(health.pid)
        while self._queue:
            given = self._queue[0]
            self._post(given)
            if isinstance(given, (GenerationStarted, GenerationExited)):
                self._generation = given
            with self._queue_changes:
                if self._queue[0] is given:
                    self._queue.popleft()
                else:  # it gave way to a newer one meanwhile, and arrived all the same
                    self._given_up -= 1

    def _post(self, given: SupervisorInput) -> None:
        try:
            self._client.post(run_path(self._run, "inputs"), given)
        except DeclinedError as error:
            if not error.final:
                raise
            self._output.notify(f"The daemon refused {kind_of(given)}: {error}", Severity.WARNING)

    def _found(self, health: Health, again: bool) -> None:
        other = ""
        if self._port not in (0, health.port):
            other = f" (not {self._port}: it is taken, or this daemon was running before)"
        self._down = False
        begin = "The daemon is back and monitors" if again else "The daemon monitors"
        self._output.notify(f"{begin} run {self._run}. Metrics: http://127.0.0.1:{health.port}/metrics{other}")
        if self._given_up:
            self._output.notify(
                f"The daemon was away for so long that it does not get the oldest {self._given_up} messages about this "
                "run. Its generations and exits stand in the run folder.",
                Severity.WARNING,
            )
            self._given_up = 0

    def _wake_at_end_of(self, pid: int) -> None:
        """Notice the daemon's death when it dies, and not at the next heartbeat: another one is started at once."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # it is in another pid namespace, or has just died: the heartbeat finds out
            return

        def wait() -> None:
            try:
                watched = select.poll()
                watched.register(descriptor, select.POLLIN)
                watched.poll()
            finally:
                os.close(descriptor)
            self._wake.set()

        threading.Thread(target=wait, name="daemon's end", daemon=True).start()

    def _lost(self, error: Exception) -> None:
        if not self._down and not self._closing.is_set():
            why = _reason(error)
            self._output.notify(
                f"The daemon does not answer ({why}). Training continues without monitoring: until it answers, no "
                "batch is checked, and nobody is alerted. "
                f"Retrying the daemon every {RETRY_S:.0f} to {RETRY_MAX_S:.0f} s.",
                Severity.WARNING,
            )
        self._down = True
        self._known = None


def _reason(error: Exception) -> str:
    if isinstance(error, UnreachableError):
        return error.why
    return str(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
