"""Who this process is: run, generation, rank. Reads the environment, and may take a generation in the run folder.

Which training of the run it is at, trainer_hooks.trainings adds.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.job import Job, launch_key
from trainer_hooks.wire import document_io, runfolder
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.messages import Sender
from trainer_hooks.wire.run_documents import Generation, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

WAIT_S = 30.0  # the ranks of one launch start within seconds; importing torch from a cold disk may take many
POLL_S = 0.05
GENERATIONS_TRIED_MAX = 100  # each try means that another process took one in between


class IdentityError(Exception):
    """The environment names no run that this process can belong to. Says which variable, and what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One rank of one training in one generation of one run."""

    run: str
    folder: RunFolder
    generation: int
    nonce: str
    rank: int
    supervised: bool  # True: `trainwarden run` started this process
    plan_path: Path | None  # what this generation must start from; None: from what the user asked for
    training: int = 1  # of the run, from 1
    ordinal: int = 1  # of the process, from 1

    def sender(self) -> Sender:
        """The same, as the wire says it."""
        return Sender(self.run, self.generation, self.rank, self.nonce, self.training)


def identify(rank: int, wait_s: float = WAIT_S, job: Job | None = None) -> Identity:
    """Who this process is. `rank` -1 (what Ultralytics calls a training without DDP) is rank 0.

    `job` is the group that it is a rank of, ALONE for none; None: the environment says it.

    Started by `trainwarden run`, everything is in the environment. Otherwise rank 0 takes the next generation, and
    every other rank of the launch waits for it. Raises IdentityError for an environment that makes no sense or when
    rank 0 takes longer than `wait_s`, RunFolderError for what is not a run id, OSError where the run folder can't be
    written.
    """
    environment = os.environ
    rank = max(rank, 0)
    launch = launch_key(environment) if job is None else job.key
    nonce = environment.get(runfolder.ENV_NONCE) or launch or uuid.uuid4().hex[:16]
    run = environment.get(runfolder.ENV_RUN, "")
    generated = not run
    if generated:
        run = f"run-{nonce}" if launch else f"run-{time.strftime('%Y%m%d-%H%M%S')}-{nonce[:6]}"  # all ranks: the same
    folder = _folder(environment, run)
    text = environment.get(runfolder.ENV_GENERATION, "")
    supervised = bool(text) and not generated
    if supervised:
        generation = _number(text)
    else:
        generation = _take_generation(folder, nonce) if rank == 0 else _await_generation(folder, nonce, wait_s)
        if generated and rank == 0:
            _describe(folder, run)
    plan = environment.get(runfolder.ENV_PLAN) if supervised else None
    return Identity(run, folder, generation, nonce, rank, supervised, Path(plan) if plan else None)


def _folder(environment: Mapping[str, str], run: str) -> RunFolder:
    folder = runfolder.run_folder(run)  # refuses what is not an id, also where the folder is given
    given = environment.get(runfolder.ENV_RUN_FOLDER)
    return RunFolder(Path(given)) if given else folder


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise IdentityError(
            f"{runfolder.ENV_GENERATION}={text!r}: a generation is a number from 1; unset it or use trainwarden run"
        )
    return int(text)


def _take_generation(folder: RunFolder, nonce: str) -> int:
    for _ in range(GENERATIONS_TRIED_MAX):
        try:
            return folder.allocate_generation("hook", nonce).number
        except FileExistsError:
            continue
    raise IdentityError(
        f"{folder.root}: {GENERATIONS_TRIED_MAX} generations were taken by others while this process tried; "
        f"start two trainings under two {runfolder.ENV_RUN} ids"
    )


def _await_generation(folder: RunFolder, nonce: str, wait_s: float) -> int:
    deadline_s = time.monotonic() + wait_s
    while True:
        number = folder.last_generation()
        if number and _nonce_of(folder.generation(number)) == nonce:
            return number
        if time.monotonic() >= deadline_s:
            raise IdentityError(
                f"{folder.root}: rank 0 of this launch ({nonce}) took no generation within {wait_s:.0f} s; "
                f"set {runfolder.ENV_GENERATION} and {runfolder.ENV_NONCE} alike for all ranks"
            )
        time.sleep(POLL_S)


def _nonce_of(path: Path) -> str | None:
    """The nonce in a generation's file; None while it is still being written."""
    try:
        return document_io.read(path, Generation).nonce
    except RunFolderError:
        return None


def _describe(folder: RunFolder, run: str) -> None:
    spec = RunSpec(run=run, argv=tuple(sys.argv), cwd=str(Path.cwd()), created_s=time.time(), act=False)
    document_io.write(folder.spec, spec)
