"""The trainings of this process: each gets an identity of its own when it begins."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from trainer_hooks.identity import Identity, identify
from trainer_hooks.job import Job, job_of_this_process
from trainer_hooks.training_claims import ClaimError, TrainingCall, claim, unclaimed

NOTEBOOK = (
    "ipykernel_"  # a cell's file lies in a folder named for the kernel's process; its own name is the cell's hash
)
_HOOKS = str(Path(__file__).parent) + os.sep


class TrainingName(NamedTuple):
    """What a training is recognised by after a relaunch, beside its place among the trainings of its process."""

    call_site: str = ""  # see `call_site`; empty: not known
    arguments_digest: str = ""  # see `digest_of`; empty: not known


@dataclass(frozen=True, slots=True)
class ClaimedTraining:
    """Who a training is."""

    identity: Identity
    trouble: str = ""  # why it could not claim a number of its own; empty: it has one


@dataclass(slots=True)
class _Process:
    """What the trainings of one process share. A forked child is a process of its own, in the same generation."""

    pid: int = 0
    trainings: int = 0
    identity: Identity | None = None


_process = _Process()


def begin_training(name: TrainingName) -> ClaimedTraining:
    """Number the training that begins now, at train() or watch(). Raises what `identify` raises."""
    return _begin(job_of_this_process(), name)


def begin_as_rank(rank: int, name: TrainingName) -> ClaimedTraining:
    """As `begin_training`, for a caller that knows its rank: those of one launch are one training."""
    rank = max(rank, 0)
    return _begin(Job(_identity(rank).nonce, rank), name)


def join_training(number: int, rank: int) -> ClaimedTraining:
    """Be a rank of a training whose number was claimed by the process that launched this one."""
    identity = _identity(rank)
    _process.trainings += 1
    return ClaimedTraining(replace(identity, rank=max(rank, 0), training=number, ordinal=_process.trainings))


def _begin(job: Job, name: TrainingName) -> ClaimedTraining:
    identity = _identity(job.rank, job)
    _process.trainings += 1
    position = _process.trainings
    key = f"{job.key}/{position}" if job.key else ""
    call = TrainingCall(position, name.call_site, name.arguments_digest, key, job.rank)
    trouble = ""
    try:
        claimed = claim(identity.folder, identity.generation, call)
    except ClaimError as error:
        claimed, trouble = unclaimed(identity.generation, call), str(error)
    named = replace(identity, rank=claimed.rank, training=claimed.number, ordinal=position)
    return ClaimedTraining(named, trouble)


def _identity(rank: int, job: Job | None = None) -> Identity:
    """The process's own, found out once: its first training gives its run and generation."""
    if _process.pid != os.getpid():
        _process.pid, _process.trainings = os.getpid(), 0
    if _process.identity is None:
        _process.identity = identify(rank, job=job)
    return _process.identity


def call_site(*packages: str) -> str:
    """Where, as "file:line", the innermost caller outside trainer_hooks and these packages is; empty: there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        file = frame.f_code.co_filename
        if name not in packages and not file.startswith(_HOOKS):
            path = Path(file)
            return f"{path.name if NOTEBOOK in path.parent.name else path}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def digest_of(arguments: Mapping[str, object]) -> str:
    """The sha256 of a call's arguments, hex. Objects that are not plain values count by their type alone."""
    plain = json.dumps(arguments, sort_keys=True, default=lambda value: type(value).__name__)
    return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest()
