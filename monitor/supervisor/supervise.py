"""`trainwarden run`: checks the command, writes down what was asked for, and supervises the run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from monitor.client.private_folder import private_folder
from monitor.errors import EXIT_CONFIG, FolderUnsafe
from monitor.supervisor.launch import with_hooks
from monitor.supervisor.posix_signals import die_of
from monitor.supervisor.preflight import check
from monitor.supervisor.recorded_environment import record, restored
from monitor.supervisor.run_documents import RunDocuments, new_run_id, open_again, open_new, still_runs
from monitor.supervisor.run_loop import Supervisor
from monitor.supervisor.run_options import RunOptions
from monitor.supervisor.start_errors import StartError
from monitor.supervisor.terminal import print_error
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.run_documents import RunOutcome, RunOver, RunSpec
from trainer_hooks.wire.runfolder import ENV_HOME, run_folder, state_home

__all__ = ["RunOptions", "run"]


def run(options: RunOptions) -> int:
    """Supervise a training to its end. Returns the exit code to leave with: 78 if nothing was started, 75 on hold."""
    try:
        return _supervise(options)
    except KeyboardInterrupt:  # before anything was started: afterwards Ctrl-C is the training's
        die_of(signal.SIGINT)
        return 128 + signal.SIGINT


def _supervise(options: RunOptions) -> int:
    try:
        documents = _resumed(options) if options.resume_by else _adopt(options) if options.adopt else _create(options)
    except StartError as error:
        print_error(str(error))
        return error.code
    except (RunFolderError, FolderUnsafe) as error:
        print_error(str(error))
        return EXIT_CONFIG
    except OSError as error:
        where, remedy = error.filename or state_home(), f"free some space, or set {ENV_HOME} to another folder"
        print_error(f"{where}: can't be written to ({error.strerror or error}); nothing was started: {remedy}")
        return EXIT_CONFIG
    try:
        return Supervisor(documents, options).supervise()
    finally:
        documents.close()


def _create(options: RunOptions) -> RunDocuments:
    """Check the command, then write down what was asked for, before anything is started."""
    folder = Path.cwd()
    found = check(options.argv, folder, with_hooks(dict(os.environ)))
    for warning in found.warnings:
        print_error(warning)
    spec = RunSpec(
        run=options.run if options.run is not None else new_run_id(options.title, options.argv),
        title=options.title,
        argv=options.argv,
        cwd=str(folder),
        created_s=time.time(),
        act=options.act,
        snapshot_s=options.snapshot_s,
        deadline_s=options.deadline_s,
        interpreter=found.interpreter,
    )
    run_folder(spec.run)  # an id that is none is refused before anything is written
    private_folder(state_home())
    documents = open_new(spec, options.policy_text)
    record(documents.folder, os.environ)
    return documents


def _adopt(options: RunOptions) -> RunDocuments:
    if not options.run:
        raise StartError("--adopt needs the id of a run; `trainwarden status` lists them")
    private_folder(state_home())
    return open_again(options.run)


def _resumed(options: RunOptions) -> RunDocuments:
    """A run that has ended, and whose command can still be started. Raises StartError for another one."""
    assert options.run is not None
    private_folder(state_home())
    documents = open_again(options.run)
    try:
        _check_resumable(documents)
    except BaseException:
        documents.close()
        raise
    return documents


def _check_resumable(documents: RunDocuments) -> None:
    run, spec, last = documents.spec.run, documents.spec, documents.last()
    if last is not None and still_runs(last):
        raise StartError(
            f"run {run!r}: its training still runs (process {last.pid}) without a supervisor. Take it over with "
            f"`trainwarden run --adopt {run}`"
        )
    if documents.ended.exists() and read(documents.ended, RunOver).how == RunOutcome.FINISHED:
        raise StartError(f"run {run!r} has finished, so there is nothing to resume")
    if not spec.argv:
        raise StartError(
            f"run {run!r}: `trainwarden run` did not start it, so its command is not known. Start it yourself"
        )
    folder = Path(spec.cwd)
    if not folder.is_dir():
        raise StartError(f"run {run!r}: its folder {folder} is gone. Put it back, then resume the run")
    found = check(spec.argv, folder, with_hooks(restored(documents.folder, os.environ)))
    for warning in found.warnings:
        print_error(warning)
