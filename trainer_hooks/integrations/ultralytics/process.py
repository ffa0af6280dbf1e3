"""What the trainings of one process share: the way to connect them, and their numbers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from trainer_hooks.identity import identify
from trainer_hooks.orders import EXIT_CODE
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.trainings import (
    ClaimedTraining,
    TrainingName,
    begin_training,
    call_site,
    digest_of,
    join_training,
)
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.python_path import with_autoattach
from trainer_hooks.wire.runfolder import ENV_GENERATION, ENV_NONCE, ENV_RUN, ENV_RUN_FOLDER

ENV_TRAINING = (
    "TRAINWARDEN_TRAINING"  # "<ordinal>:<digest>[:<number>]": the training that the parent of these ranks launched
)
ENV_GUARD = "TRAINWARDEN_GUARD"  # "off": look and report, change nothing

_log = logging.getLogger("trainwarden")

NAMING_ARGUMENTS = (
    "task",
    "model",
    "data",
    "project",
    "name",
    "epochs",
    "time",
    "imgsz",
    "batch",
    "seed",
    "fraction",
    "resume",
)


@dataclass(frozen=True, slots=True)
class Training:
    """Which training this is, and the plan it starts from."""

    ordinal: int  # of the process, from 1; in a rank that a parent launched, of the parent
    digest: str
    plan: Plan | None = None
    claimed: ClaimedTraining | None = None  # None: it has no number within the run
    name: TrainingName = field(default_factory=TrainingName)

    def is_for(self, plan: Plan) -> bool:
        """True: the plan names this training. A plan for another training does not concern it."""
        if self.claimed is not None:
            of_another = plan.arguments_digest not in ("", self.digest)  # a number that was not claimed may be shared
            if of_another or plan.training != self.claimed.identity.training:
                return False
        return plan.ordinal == self.ordinal


@dataclass(slots=True)
class Process:
    """The state of this process's trainings. `connect` gives the probe of one, `begin` its number within the run."""

    connect: Callable[[Training], ProbeLike]
    begin: Callable[[TrainingName], ClaimedTraining] | None = None  # None: they have no numbers
    trainings: int = 0
    guard_acts: bool = True
    _launched_for: tuple[str, ...] = ()  # what a launching parent says: ordinal, digest and, if it knows it, number

    def next_training(self, overrides: Mapping[str, Any]) -> Training:
        """Number the training that is being built; a rank that was launched by a parent takes the parent's word."""
        self.trainings += 1
        if launched := os.environ.pop(ENV_TRAINING, ""):  # not for the children of this rank
            self._launched_for = tuple(launched.split(":"))
        name = TrainingName(call_site("ultralytics"), digest_of(overrides))
        ordinal, digest, number, *_ = (*self._launched_for, "", "", "")
        if not (ordinal.isdecimal() and digest):
            return Training(self.trainings, arguments_digest(overrides), claimed=self._claim(name), name=name)
        if number.isdecimal() and self.begin is not None:
            joined = self._attempt(lambda: join_training(int(number), int(os.environ.get("RANK", "0"))))
            return Training(int(ordinal), digest, claimed=joined, name=name)
        return Training(int(ordinal), digest, claimed=self._claim(name), name=name)

    def again(self, training: Training) -> Training:
        """The training that begins when the trainer of `training` is made to train once more."""
        self.trainings += 1
        return Training(self.trainings, training.digest, claimed=self._claim(training.name), name=training.name)

    def _claim(self, name: TrainingName) -> ClaimedTraining | None:
        begin = self.begin
        return None if begin is None else self._attempt(lambda: begin(name))

    def _attempt(self, claim: Callable[[], ClaimedTraining]) -> ClaimedTraining | None:
        try:
            return claim()
        except Exception as error:  # noqa: BLE001 - the edge between us and somebody else's training
            _log.warning("this training has no number within the run: %s: %s", type(error).__name__, error)
            return None


def arguments_digest(overrides: Mapping[str, Any]) -> str:
    """The sha256 of the arguments that name a training, hex: the same script gives the same digest at a relaunch."""
    named = {name: str(overrides[name]) for name in NAMING_ARGUMENTS if overrides.get(name) is not None}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def connect_probe(training: Training) -> ProbeLike:
    """The probe of a training that begins now. Raises what prevents it."""
    from trainer_hooks.probe import open_probe  # noqa: PLC0415  threads and sockets only where a training starts

    return open_probe(training.claimed or begin_training(training.name))


def describe_to_children(process: Process, training: Training) -> dict[str, str]:
    """The environment that the ranks of a launching parent need beside its own, to be one training of one run.

    They attach by it as under `trainwarden run`: releases that carry no callbacks into the ranks would lose the hooks.
    """
    number = f":{training.claimed.identity.training}" if training.claimed else ""
    described = {
        ENV_TRAINING: f"{training.ordinal}:{training.digest}{number}",
        "PYTHONPATH": with_autoattach(os.environ.get("PYTHONPATH", "")),
    }
    if not process.guard_acts:
        described[ENV_GUARD] = "off"
    if not (os.environ.get(ENV_RUN) and os.environ.get(ENV_GENERATION)):
        identity = training.claimed.identity if training.claimed else identify(0)
        described |= {
            ENV_RUN: identity.run,
            ENV_RUN_FOLDER: str(identity.folder.root),
            ENV_GENERATION: str(identity.generation),
            ENV_NONCE: identity.nonce,
        }
    return described


def refuse_to_start(reason: str) -> NoReturn:
    """A plan was expected and can't be followed: starting anyway would train over what it was meant to save."""
    print(f"trainwarden: not started: {reason}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_CODE)
