"""Prints the run's timeline on the user's terminal as it happens: a thread that long-polls the daemon."""

from __future__ import annotations

import threading
import time

from monitor.client.http import Client, ClientError, run_path
from monitor.core.model.channel import TimelineLine
from monitor.supervisor.terminal import TerminalOutput
from trainer_hooks.wire.runfolder import control_socket

POLL_S = 20.0
ANSWER_S = POLL_S + 5.0
RETRY_S = 1.0
LAST_S = 0.5  # for the lines that the end of the run brings
LAST_POLLS = 20
LEAVE_S = 0.05  # between two tries to end a long poll: the thread may be about to begin one


class Timeline:
    """The thread. start(), close()."""

    def __init__(self, run: str, output: TerminalOutput, from_now: bool) -> None:
        """`from_now`: leave out the lines that the supervisor before us has printed."""
        self._path = run_path(run, "timeline")
        self._output = output
        self._skip = from_now
        self._after = 0
        self._client = Client(control_socket(), ANSWER_S)
        self._last_client = Client(control_socket(), ANSWER_S)  # nobody interrupts it
        self._left_polling = threading.Event()
        self._printed_all = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="timeline", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 3.0) -> bool:
        """Print what is left, within the time. True: every line that the daemon has was printed."""
        self._closing.set()
        ends_s = time.monotonic() + timeout_s
        while not self._left_polling.wait(LEAVE_S) and time.monotonic() < ends_s:
            self._client.interrupt()
        self._thread.join(max(ends_s - time.monotonic(), 0.0))
        return self._printed_all

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self._poll(self._client, 0.0 if self._skip else POLL_S)
            except ClientError:  # the announcer reports it, and brings the daemon back
                self._closing.wait(RETRY_S)
        self._left_polling.set()
        self._printed_all = self._print_the_rest()

    def _print_the_rest(self) -> bool:
        """True: there was nothing more."""
        for _ in range(LAST_POLLS):
            try:
                if not self._poll(self._last_client, LAST_S):
                    return True
            except ClientError:  # the daemon is gone: the reports in the run folder hold everything
                return False
        return False

    def _poll(self, client: Client, wait_s: float) -> int:
        """Print the new lines; how many there were. Raises ClientError."""
        lines = client.get(self._path, list[TimelineLine], after=self._after, wait_s=f"{wait_s:g}")
        for line in lines:
            self._after = max(self._after, line.n)
            if not self._skip:
                self._output.notify(line.text, line.severity)
        self._skip = False
        return len(lines)
