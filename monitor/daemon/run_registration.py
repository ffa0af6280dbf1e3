"""How a run becomes known: from its folder, or from the first frame of one nobody announced. Reads run folders."""

from __future__ import annotations

import logging

import msgspec

from monitor.core.model import GenerationStarted, RunOpened
from monitor.core.policy.settings import Policy
from monitor.history.old_state import run_of
from monitor.policyfile.load import load_policy
from trainer_hooks.wire import document_io
from trainer_hooks.wire.messages import EventSent, Frame, TrainingStarted
from trainer_hooks.wire.run_documents import Generation, RunSpec
from trainer_hooks.wire.runfolder import RunFolder, run_folder

log = logging.getLogger("trainwarden.daemon")


def announced(run: str, *, known: bool = False) -> tuple[RunOpened, Policy]:
    """A run with a folder; `known`: the daemon has its state. Raises RunFolderError or PolicyFileError.

    They name the file and the remedy.
    """
    folder = run_folder(run)
    spec = document_io.read(folder.spec, RunSpec)
    if spec.run != run:
        raise document_io.RunFolderError(
            f"{folder.spec}: says it is run {spec.run!r}; the folder of a run must not be renamed"
        )
    policy = load_policy(folder.policy) if folder.policy.exists() else Policy(act=False)
    return RunOpened(spec, policy.model_dump_json(), b"" if known else _kept(folder)), policy


def _kept(folder: RunFolder) -> bytes:
    """Its state when it ended, which the daemon forgets after a day; empty: it has not ended, or it can't be read."""
    if not folder.state.exists():
        return b""
    try:
        return msgspec.msgpack.encode(run_of(folder.state.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s: can't be read (%s); the run begins anew in the history", folder.state, error)
        return b""


def observed(frame: Frame, now_s: float) -> RunOpened | None:
    """A run that streams unannounced: only watched. None: the frame does not say that training started."""
    started = next(
        (r.body for r in frame.records if isinstance(r, EventSent) and isinstance(r.body, TrainingStarted)), None
    )
    if started is None:
        return None
    spec = RunSpec(run=frame.sender.run, argv=(), cwd=started.save_dir, created_s=now_s, act=False)
    return RunOpened(spec=spec, policy=Policy(act=False).model_dump_json())


def generation(run: str, number: int, nonce: str | None = None) -> GenerationStarted:
    """The generation that the run folder holds. Raises RunFolderError for none, or one with another nonce."""
    folder = run_folder(run)
    found = document_io.read(folder.generation(number), Generation)
    if nonce is not None and found.nonce != nonce:
        raise document_io.RunFolderError(
            f"{folder.generation(number)}: belongs to another launch; end the older process"
        )
    return GenerationStarted(
        run=run, number=found.number, nonce=found.nonce, pid=found.pid, supervisor_pid=found.supervisor_pid
    )
