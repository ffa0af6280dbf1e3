"""What the trainings of one process share: the connection, the totals since the process began, and their order."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from trainer_hooks.orders import EXIT_CODE
from trainer_hooks.spool import Save
from trainer_hooks.wire.messages import BatchEnded, Counts, Event, Order
from trainer_hooks.wire.python_path import with_autoattach
from trainer_hooks.wire.runfolder import ENV_GENERATION, ENV_NONCE, ENV_RUN, ENV_RUN_FOLDER, Plan, RunFolder

ENV_TRAINING = (
    "TRAINWARDEN_TRAINING"  # "<ordinal>:<digest>": which training the parent of these ranks launched them for
)
ENV_GUARD = "TRAINWARDEN_GUARD"  # "off": look and report, change nothing
EVIDENCE_MAX = 256  # NonfiniteSeen events of one generation; after that they are only counted

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


class WhereItRuns(Protocol):
    """The part of an Identity that a trainer's hooks need."""

    @property
    def folder(self) -> RunFolder: ...


class ProbeLike(Protocol):
    """What the integration needs of a Probe; see trainer_hooks.probe."""

    @property
    def identity(self) -> WhereItRuns: ...
    @property
    def hook_errors(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    def batch(self, record: BatchEnded | Callable[[], BatchEnded], urgent: bool = False) -> None: ...
    def event(self, body: Event) -> None: ...
    def order(self) -> Order | None: ...
    def settle(
        self, order: Order, outcome: str, detail: str, epoch: int, batch: int, read_back: dict[str, str]
    ) -> None: ...
    def checkpoint(self, source: Path, save: Save) -> None: ...
    def copied(self, timeout_s: float) -> bool: ...
    def flush(self, timeout_s: float) -> bool: ...


@dataclass(slots=True)
class Counted:
    """The totals of wire.messages.Counts while they are being counted."""

    batches: int = 0
    steps: int = 0
    nonfinite_batches: int = 0
    nonfinite_loss: int = 0
    nonfinite_gradient: int = 0
    nonfinite_parameter: int = 0
    nonfinite_buffer: int = 0
    skipped_by_guard: int = 0
    skipped_by_scaler: int = 0
    scaler_overflows: int = 0
    samples_lost: int = 0
    evidence: int = 0  # NonfiniteSeen events sent; no part of Counts

    def counts(self, hook_errors: int, records_dropped: int) -> Counts:
        """The totals now, as they go on the wire."""
        return Counts(
            self.batches,
            self.steps,
            self.nonfinite_batches,
            self.nonfinite_loss,
            self.nonfinite_gradient,
            self.nonfinite_parameter,
            self.nonfinite_buffer,
            self.skipped_by_guard,
            self.skipped_by_scaler,
            self.scaler_overflows,
            self.samples_lost,
            hook_errors,
            records_dropped,
        )


@dataclass(frozen=True, slots=True)
class Training:
    """Which training this is, and the plan it starts from."""

    ordinal: int
    digest: str
    plan: Plan | None = None


@dataclass(slots=True)
class Process:
    """The state of this process's trainings. `connect` gives the probe of a rank."""

    connect: Callable[[int], ProbeLike]
    counted: Counted = field(default_factory=Counted)
    trainings: int = 0
    guard_acts: bool = True

    def next_training(self, overrides: Mapping[str, Any]) -> Training:
        """Number the training that is being built; a rank that was launched by a parent takes the parent's word."""
        self.trainings += 1
        ordinal, _, digest = os.environ.get(ENV_TRAINING, "").partition(":")
        if ordinal.isdecimal() and digest:
            return Training(int(ordinal), digest)
        return Training(self.trainings, arguments_digest(overrides))


def arguments_digest(overrides: Mapping[str, Any]) -> str:
    """The sha256 of the arguments that name a training, hex: the same script gives the same digest at a relaunch."""
    named = {name: str(overrides[name]) for name in NAMING_ARGUMENTS if overrides.get(name) is not None}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def connect_probe(rank: int) -> ProbeLike:
    """The probe of this process, connected on first use."""
    from trainer_hooks.probe import connect  # noqa: PLC0415  threads and sockets only where a training starts

    return connect(rank)


def describe_to_children(process: Process, training: Training) -> dict[str, str]:
    """The environment that the ranks of a launching parent need beside its own, to be one training of one run.

    They attach by it as under `trainwarden run`: releases that carry no callbacks into the ranks would lose the hooks.
    """
    described = {
        ENV_TRAINING: f"{training.ordinal}:{training.digest}",
        "PYTHONPATH": with_autoattach(os.environ.get("PYTHONPATH", "")),
    }
    if not process.guard_acts:
        described[ENV_GUARD] = "off"
    if not (os.environ.get(ENV_RUN) and os.environ.get(ENV_GENERATION)):
        from trainer_hooks.identity import identify  # noqa: PLC0415

        identity = identify(0)
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
