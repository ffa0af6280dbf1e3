"""How long the first batch of a training takes on this machine: kernels are compiled once, and then kept. Pure.

One daemon serves one machine, so what every run of it learnt is what the machine needs. It is kept by the command, its
arguments, the device and the version of torch, since another of them may compile anew.
"""

from __future__ import annotations

import hashlib

from monitor.core.state.fold import Folded
from monitor.core.state.run import Fleet, MachineStarts, RunState, TrainingState
from trainer_hooks.wire.messages import TrainingStarted

STARTS_KNOWN_MAX = 256  # of different trainings; the one that started longest ago leaves
STARTS_MIN = 2  # the first one compiles; what the next ones take is usual


def learn_first_batch(fleet: Fleet, folded: Folded) -> None:
    """A training that starts hears what is usual here, and its first batch is learnt from."""
    training, rank, batch = folded.training, folded.rank, folded.batch
    if isinstance(folded.event, TrainingStarted):
        known = fleet.starts.get(_key(folded.run, folded.event))
        training.silence.usual_start_s = known.later_s if known and known.count >= STARTS_MIN else None
    elif batch is not None and rank is not None and rank.rank == 0 and batch.counts.batches == folded.new_batches:
        _learn(fleet, folded.run, training, batch.wall_s)


def _learn(fleet: Fleet, run: RunState, training: TrainingState, wall_s: float) -> None:
    started = training.started
    key = _key(run, started) if started else ""
    if started is None or not key:
        return
    took_s = max(fleet.now_s - training.silence.phase_since_s, wall_s - started.wall_s)  # a record may come late
    known = fleet.starts.pop(key, MachineStarts())
    later_s = max(known.later_s, took_s) if known.count else 0.0
    fleet.starts[key] = MachineStarts(known.count + 1, later_s)
    while len(fleet.starts) > STARTS_KNOWN_MAX:
        del fleet.starts[next(iter(fleet.starts))]


def _key(run: RunState, started: TrainingStarted) -> str:
    """Empty: nothing says which training it is, so that nothing is learnt."""
    if not run.spec.argv and not started.arguments_digest:
        return ""
    versions = [f"{name} {number}" for name, number in sorted(started.versions.items()) if name != "trainwarden"]
    parts = [*run.spec.argv, started.arguments_digest, started.device, str(started.world_size), *versions]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]
