"""Runs that trained while no daemon was there: found by what their hooks left in the run folders. An edge file.

A script with `watch()` and without a supervisor announces itself to a daemon only by what it sends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container

from monitor.core.model import RunOpened
from monitor.core.policy.settings import Policy
from monitor.daemon import run_registration
from monitor.policyfile.load import PolicyFileError
from trainer_hooks.wire import document_io, runfolder
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.eventfile import events_of, read_events
from trainer_hooks.wire.messages import TrainingStarted
from trainer_hooks.wire.run_documents import Generation, RunSpec
from trainer_hooks.wire.runfolder import RunFolder, run_folder

MISSED_RUNS_MAX = 100  # the newest
MISSED_S = 7 * 24 * 3600.0  # a weekend and more; what is older was hardly missed
MISSED = "no daemon was there when this run began: what its folder holds is read now, and the rest is not known"
LEFT = ("last-*.json", "spool/events-*.bin")  # what hooks leave: their last counters, and events nobody took


def missed_runs(known: Container[str], now_s: float) -> list[RunOpened]:
    """Those that `known` does not hold and whose hooks wrote something within MISSED_S, the newest first.

    A run with a supervisor is the supervisor's to announce, and one with a state was seen to its end.
    """
    try:
        names = [each.name for each in (runfolder.state_home() / "runs").iterdir()]
    except OSError:
        return []
    found = [(left_s, name) for name in names if name not in known and (left_s := _left_s(name)) > now_s - MISSED_S]
    opened = [_opened(name, left_s) for left_s, name in sorted(found, reverse=True)[:MISSED_RUNS_MAX]]
    return [each for each in opened if each is not None]


def _left_s(name: str) -> float:
    """When its hooks last wrote something, Unix time; 0: no such run, its end was seen, or it has a supervisor."""
    try:
        folder = run_folder(name)
        last = folder.last_generation()
        if not last or folder.state.exists():
            return 0.0
        if document_io.read(folder.generation(last), Generation).allocated_by != "hook":
            return 0.0
        return max((path.stat().st_mtime for pattern in LEFT for path in folder.root.glob(pattern)), default=0.0)
    except (RunFolderError, OSError):
        return 0.0


def _opened(name: str, left_s: float) -> RunOpened | None:
    folder = run_folder(name)
    if folder.spec.exists():
        try:
            return run_registration.announced(name)[0]
        except (RunFolderError, PolicyFileError):
            return None  # reported where it is asked for
    started = _first_start(folder)
    cwd, created_s = (started.save_dir, started.wall_s) if started else ("", left_s)
    spec = RunSpec(run=name, argv=(), cwd=cwd, created_s=created_s, act=False)
    return RunOpened(spec=spec, policy=Policy(act=False).model_dump_json())


def _first_start(folder: RunFolder) -> TrainingStarted | None:
    files = sorted((of, path) for path in folder.spool.glob("events-*.bin") if (of := events_of(path)))
    for _, path in files:
        with contextlib.suppress(OSError):  # its process is alive and has just removed it
            for event in read_events(path):
                if isinstance(event.body, TrainingStarted):
                    return event.body
    return None
