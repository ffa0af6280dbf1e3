"""Runs groups of live trainings in child processes and reads what they recorded. An edge file: processes and files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.bench.detection.live.experiment import Experiment

MODULE = "tests.bench.detection.live.parts.train"
KILLED_AFTER_S = 10.0  # a child that is told to end and does not
LAST_LINES = 3  # of a traceback or of the child's last words


def run_group(experiments: list[Experiment], folder: Path, deadline_s: float) -> list[str]:
    """Train them in one child, their streams into `folder`. Gets what went wrong with each; empty: nothing."""
    text = msgspec.json.encode(experiments).decode()
    command = [sys.executable, "-m", MODULE, text, str(folder)]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        ending = _wait(child, deadline_s)
    return [_error(folder, number, ending) for number in range(len(experiments))]


def stream_path(folder: Path, number: int) -> Path:
    """Where the stream of a group's training lies."""
    return folder / f"{number}.jsonl"


def _wait(child: subprocess.Popen[bytes], deadline_s: float) -> str:
    """What is wrong with how the child ended; empty: it did all it had to."""
    try:
        code = child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        _end(child)
        return f"the child did not finish within {deadline_s:.0f} s and was ended"
    except BaseException:
        _end(child)
        raise
    return f"the child ended with {code}" if code else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(KILLED_AFTER_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # the group is the child's own, and the child is not reaped yet
        child.wait()


def _error(folder: Path, number: int, ending: str) -> str:
    raised = folder / f"{number}.error"
    if raised.exists():
        return raised.read_text().strip().splitlines()[-1]
    path = stream_path(folder, number)
    if path.exists() and b"training_ended" in path.read_bytes()[-4096:]:
        return ""
    words = (folder / "output.txt").read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
    return "; ".join([ending or "the child wrote no whole stream", *words])
