"""Who this process is: run, generation, rank. Reads the environment, and may take a generation in the run folder."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.wire import runfolder
from trainer_hooks.wire.messages import Sender
from trainer_hooks.wire.runfolder import Generation, RunFolder, RunFolderError, RunSpec

WAIT_S = 30.0  # the ranks of one launch start within seconds; importing torch from a cold disk may take many
POLL_S = 0.05
GENERATIONS_TRIED_MAX = 100  # each try means that another process took one in between


class IdentityError(Exception):
    """The environment names no run that this process can belong to. Says which variable, and what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One rank of one generation of one run."""

    run: str
    folder: RunFolder
    generation: int
    nonce: str
    rank: int
    supervised: bool  # True: `trainwarden run` started this process
    plan_path: Path | None  # what this generation must start from; None: from what the user asked for

    def sender(self) -> Sender:
        """The same, as the wire says it."""
        return Sender(self.run, self.generation, self.rank, self.nonce)


def identify(rank: int, wait_s: float = WAIT_S) -> Identity:
    """Who this process is. `rank` -1 (what Ultralytics calls a training without DDP) is rank 0.

    Started by `trainwarden run`, everything is in the environment. Otherwise rank 0 takes the next generation, and
    every other rank of the launch waits for it. Raises IdentityError for an environment that makes no sense or when
    rank 0 takes longer than `wait_s`, RunFolderError for a run id that is none, OSError where the run folder can't be
    written.
    """
    environment = os.environ
    rank = max(rank, 0)
    nonce = environment.get(runfolder.ENV_NONCE) or launch_nonce(environment)
    run = environment.get(runfolder.ENV_RUN, "")
    generated = not run
    if generated:
        run = _generated_run(environment, nonce)
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


def launch_nonce(environment: Mapping[str, str]) -> str:
    """The same text in every rank of one launch, as good as never in two launches.

    Built from what launchers (torchrun, Slurm, a user's own script) tell all ranks alike. A process that is a launch of
    its own gets a random one.
    """
    world = environment.get("WORLD_SIZE", "1")
    if world == "1":
        return uuid.uuid4().hex[:16]
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "MASTER_ADDR")
    marks = [environment.get(name, "") for name in (*names, "MASTER_PORT", "WORLD_SIZE")]
    if environment.get("LOCAL_WORLD_SIZE") == world:
        marks.append(str(os.getppid()))  # all ranks are on this host, children of one launcher
    return hashlib.sha256("\0".join(marks).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _generated_run(environment: Mapping[str, str], nonce: str) -> str:
    if environment.get("WORLD_SIZE", "1") != "1":
        return f"run-{nonce}"  # every rank must come to the same
    return f"run-{time.strftime('%Y%m%d-%H%M%S')}-{nonce[:6]}"


def _folder(environment: Mapping[str, str], run: str) -> RunFolder:
    folder = runfolder.run_folder(run)  # refuses an id that is none, also where the folder is given
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
        return runfolder.read(path, Generation).nonce
    except RunFolderError:
        return None


def _describe(folder: RunFolder, run: str) -> None:
    spec = RunSpec(run=run, argv=tuple(sys.argv), cwd=str(Path.cwd()), created_s=time.time(), act=False)
    runfolder.write(folder.spec, spec)
