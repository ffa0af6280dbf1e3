"""A supervised run of the plain training, from the outside: `trainwarden run` as a user starts it, and the daemon's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.harness.shim import eventually
from trainer_hooks.wire.runfolder import ENV_HOME, RunFolder

ROOT = Path(__file__).resolve().parents[2]
RUN = "night"
POLICY = """\
version: 1
rollback: {redo_limit_epochs: 9, healthy_batches: 5, grace_s: 10}
strengthen: {warmup_epochs: 0}
watch: {batches_min: 40, onset_samples: false}
webhooks:
  - {name: people, url: "%s"}
"""


def environment_of_home(home: Path) -> dict[str, str]:
    """The environment of a user whose runs, store and sockets lie below `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWARDEN_")}
    return kept | {ENV_HOME: str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Daemon:
    """The daemon of a home, as a process."""

    def __init__(self, home: Path) -> None:
        self._note = home / "run" / "daemon.json"

    def pid(self) -> int | None:
        """Its pid, while it lives."""
        try:
            pid = int(json.loads(self._note.read_bytes())["pid"])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if b"monitor" in command and _alive(pid) else None

    def kill(self) -> int | None:
        """SIGKILL; returns the pid it had, None where there was none."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return pid


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return False
    return state != "Z"


class NightRun:
    """`trainwarden run` over the plain training, with its output in a file."""

    def __init__(self, home: Path, checkpoints: Path, hook_url: str, *more: str, run: str = RUN) -> None:
        self.home, self.run = home, run
        self.folder = RunFolder(home / "runs" / run)
        self.save_dir = home / f"training-{run}"
        self.log = home / f"{run}.log"
        policy = home / "policy.yaml"
        policy.write_text(POLICY % hook_url)
        script = [sys.executable, "-m", "tests.harness.plain_training"]
        training = [*script, "--checkpoints", str(checkpoints), "--save-dir", str(self.save_dir), *more]
        options = ["run", "--run", run, "--policy", str(policy)]
        entry = "from _trainwarden import main; main()"
        self._output = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", entry, *options, "--", *training],
            env=environment_of_home(home),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def says(self, text: str) -> bool:
        """Whether the terminal shows it."""
        return text in self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = 120.0) -> int:
        """The exit code."""
        eventually("the end of the run", lambda: self.process.poll() is not None, timeout_s)
        self._output.close()
        return self.process.returncode
