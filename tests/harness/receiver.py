"""A receiver as a process of its own: a ROUTER that writes down what it gets and acknowledges what it is told to.

Started as a script: `receiver.py SOCKET LOG [--deaf]`. Each line of LOG is a JSON list: what, rank, numbers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from trainer_hooks.wire.codec import decode_frame, encode
from trainer_hooks.wire.messages import BatchEnded, EventSent, EventsSeen


class Receiver:
    """The process, from the outside. Stopped and killed for real."""

    def __init__(self, socket: Path, log: Path) -> None:
        self.socket = socket
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, deaf: bool = False) -> None:
        """Bind and receive. `deaf`: acknowledge nothing."""
        command = [sys.executable, __file__, str(self.socket), str(self.log)] + (["--deaf"] if deaf else [])
        starts = self.count("up")
        self._process = subprocess.Popen(command)
        wait_for(lambda: self.count("up") > starts, "the receiver to bind")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; harmless on one that never ran."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lines(self) -> list[list[object]]:
        """Everything received so far, by every process that wrote this log."""
        whole = self.log.read_bytes() if self.log.exists() else b""
        return [json.loads(line) for line in whole.splitlines(keepends=True) if line.endswith(b"\n")]

    def count(self, what: str) -> int:
        return sum(1 for line in self.lines() if line[0] == what)

    def numbers(self, what: str) -> list[object]:
        """The number of each record of that kind: an event's seq, a batch's index."""
        return [line[2] for line in self.lines() if line[0] == what]


def wait_for(met: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Poll until it is met; fails, naming `what`, after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.01)


def main(socket: str, log: str, *options: str) -> None:
    """The process itself."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    Path(socket).unlink(missing_ok=True)
    router.bind(f"ipc://{socket}")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, b'["up", 0, 0]\n')
    while True:
        peer, data = router.recv_multipart()
        frame = decode_frame(data)
        entries: list[list[object]] = []
        seen = 0
        for record in frame.records:
            if isinstance(record, EventSent):
                entries.append(["event", frame.sender.rank, record.seq])
                seen = record.seq
            elif isinstance(record, BatchEnded):
                entries.append(["batch", frame.sender.rank, record.batch])
        os.write(descriptor, b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        if seen and "--deaf" not in options:
            answer = EventsSeen(frame.sender.generation, frame.sender.rank, seen)
            router.send_multipart([peer, encode(answer)])


if __name__ == "__main__":
    main(*sys.argv[1:])
