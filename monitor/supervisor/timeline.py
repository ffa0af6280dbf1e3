"""What happens to the run, as it happens, on the user's terminal: a thread that long-polls the daemon's timeline."""

from __future__ import annotations

import threading
from typing import Any

from monitor.supervisor.daemon_link import DaemonDown, Link, Refusal
from monitor.supervisor.terminal import Voice
from trainer_hooks.wire.runfolder import control_socket

POLL_S = 20.0
RETRY_S = 1.0
LAST_S = 0.5  # for the lines that the end of the run brings
LAST_POLLS = 20


class Timeline:
    """The thread. start(), close()."""

    def __init__(self, run: str, voice: Voice, from_now: bool) -> None:
        """`from_now`: leave out what was told before, to the supervisor that we take over from."""
        self._path = f"/api/v1/runs/{run}/timeline"
        self._voice = voice
        self._skip = from_now
        self._after = 0
        self._link = Link(control_socket())
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="timeline", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 3.0) -> None:
        """Tell what is left, within the time."""
        self._closing.set()
        self._link.interrupt()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self._poll(0.0 if self._skip else POLL_S)
            except (DaemonDown, Refusal):  # the announcer says it, and brings the daemon back
                self._closing.wait(RETRY_S)
        self._tell_the_rest()

    def _tell_the_rest(self) -> None:
        for _ in range(LAST_POLLS):
            try:
                if not self._poll(LAST_S):
                    return
            except (DaemonDown, Refusal):  # it is gone: the report in the run folder has it all
                return

    def _poll(self, wait_s: float) -> int:
        """Tell the lines that are new; how many there were. Raises DaemonDown, Refusal."""
        lines = self._link.get(f"{self._path}?after={self._after}&wait_s={wait_s:g}", timeout_s=wait_s + 5.0)
        if not isinstance(lines, list):
            raise DaemonDown("the timeline is no list")
        for line in lines:
            self._tell(line)
        self._skip = False
        return len(lines)

    def _tell(self, line: Any) -> None:
        if not isinstance(line, dict):
            return
        self._after = max(self._after, int(line.get("n", 0)))
        if not self._skip:
            self._voice.notify(str(line.get("text", "")), str(line.get("severity", "info")))
