"""What an incident keeps of the moment when it opened: settings, samples and bad batches since its onset. Pure."""

from __future__ import annotations

from monitor.core.model import FactsAtOpen
from monitor.core.policy.strengthen import current
from monitor.core.state.run import TrainingState

SAMPLES_MAX = 1024  # names of samples kept of an onset


def facts_at_open(training: TrainingState, onset_count: int) -> FactsAtOpen:
    """What is known now, with the bad batches since the one at `onset_count` (Counts.batches)."""
    started = training.started
    return FactsAtOpen(
        started,
        current(training, started) if started else None,
        _samples_since(training, onset_count),
        _bad_since(training, onset_count),
    )


def _samples_since(training: TrainingState, count: int) -> list[str]:
    names = [
        name
        for g, seen in training.nonfinite_log
        if g == training.generation and _count_of(training, seen.epoch, seen.batch) >= count
        for name in seen.samples
    ]
    return list(dict.fromkeys(names))[:SAMPLES_MAX]


def first_tensor(training: TrainingState, count: int) -> str:
    """Names the first tensor found non-finite since then, with a space before; empty: the hooks looked at none."""
    seen = [
        s
        for g, s in training.nonfinite_log
        if g == training.generation and _count_of(training, s.epoch, s.batch) >= count
    ]
    name = next((s.first_bad for s in seen if s.first_bad), "")
    return f" The first non-finite tensor: {name}." if name else ""


def _count_of(training: TrainingState, epoch: int, batch: int) -> int:
    """Counts.batches at a batch of this generation, from the rows of its epochs."""
    before = sum(r.batches for r in training.epochs if r.generation == training.generation and r.epoch < epoch)
    return before + batch + 1


def _bad_since(training: TrainingState, count: int) -> int:
    leader = training.ranks.get(0)
    return sum(1 for c in leader.learned.nonfinite.counts if c >= count) if leader else 0
