"""Which runs there are, from the daemon or, without one, from the folders of runs."""

from __future__ import annotations

import getpass

from monitor.cli.failure import EXIT_USAGE, Failure, nearest
from trainer_hooks.wire.runfolder import RUN_ID, RunFolder, run_folder, state_home

SHOWN_MAX = 5


def operator() -> str:
    """Who types the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return "an operator"


def known_runs() -> list[str]:
    """Run ids that have a folder, the newest last."""
    folders = [path for path in (state_home() / "runs").glob("*") if path.is_dir() and RUN_ID.fullmatch(path.name)]
    return [path.name for path in sorted(folders, key=lambda path: path.stat().st_mtime)]


def existing_run(run: str) -> RunFolder:
    """The folder of the run. Raises Failure, naming the runs that come nearest, where there is none of that name."""
    known = known_runs()
    if run in known:
        return run_folder(run)
    if not known:
        raise Failure(
            f"run {run!r}: there are no runs in {state_home()}. Start one: trainwarden run -- python train.py",
            EXIT_USAGE,
        )
    hint = nearest(run, known) or f"; the latest are {', '.join(known[-SHOWN_MAX:])}"
    raise Failure(f"run {run!r}: no run has this name{hint}", EXIT_USAGE)
