"""The state of the run in one line, in the title of the terminal's window: a progress bar below stays as it is.

A thread that asks the daemon every few seconds. Where there is no terminal, or one without a title, it writes nothing.
"""

from __future__ import annotations

import threading

import msgspec

from monitor.client.http import Client, ClientError, run_path
from monitor.supervisor.terminal import TerminalOutput
from trainer_hooks.wire.runfolder import control_socket

EVERY_S = 5.0
ANSWER_S = 2.0


class ShownIncident(msgspec.Struct):
    """What is shown of one."""

    number: int
    state: str


class ShownRun(msgspec.Struct):
    """What is shown of the run's summary. None: not known yet."""

    state: str
    epoch: int | None = None
    epochs: int | None = None
    batch: int | None = None
    batches_per_epoch: int | None = None
    nonfinite: int = 0
    incident: ShownIncident | None = None


class Detail(msgspec.Struct):
    """The part of the daemon's answer that is read."""

    summary: ShownRun


class StatusLine:
    """start(), close()."""

    def __init__(self, run: str, output: TerminalOutput) -> None:
        self._run, self._output = run, output
        self._client = Client(control_socket(), ANSWER_S)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="status line", daemon=True)

    def start(self) -> None:
        if self._output.has_title:
            self._thread.start()

    def close(self) -> None:
        """Give the window the title that it had."""
        self._closing.set()
        if self._thread.is_alive():
            self._client.interrupt()
            self._thread.join(ANSWER_S)
        self._output.restore_title()

    def _work(self) -> None:
        while not self._closing.wait(EVERY_S):
            try:
                found = self._client.get(run_path(self._run), Detail)
            except ClientError:  # the announcer reports it, and brings the daemon back
                continue
            if not self._closing.is_set():
                self._output.title(f"{self._run}: {line_of(found.summary)}")


def line_of(summary: ShownRun) -> str:
    """Such as: train, epoch 4/50, batch 120/823, 2 not finite, incident 1 watching."""
    parts = [summary.state]
    for name, done, of in (
        ("epoch", summary.epoch, summary.epochs),
        ("batch", summary.batch, summary.batches_per_epoch),
    ):
        if done is not None:
            parts.append(f"{name} {done}/{of}" if of else f"{name} {done}")
    if summary.nonfinite:
        parts.append(f"{summary.nonfinite} not finite")
    if summary.incident is not None:
        parts.append(f"incident {summary.incident.number} {summary.incident.state.replace('_', ' ')}")
    return ", ".join(parts)
