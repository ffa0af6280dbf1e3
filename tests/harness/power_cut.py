"""A power cut, simulated."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal

from tests.harness.night_run import Daemon, NightRun


def power_cut(run: NightRun) -> None:
    """Supervisor, training and daemon are gone at once, and so is the runtime folder."""
    generation = run.until_generation(1)
    daemon = Daemon(run.home)
    run.kill_supervisor()
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(generation.pid, signal.SIGKILL)
    daemon.kill()
    shutil.rmtree(run.home / "run")
