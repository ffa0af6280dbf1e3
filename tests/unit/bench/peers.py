"""A short training for one peer's rule: numbers in, the batches on which it alarms out."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.detection.rules import Rule
from trainer_hooks.wire.messages import BatchEnded, Counts, EpochEnded, TrainingStarted


def started(epochs: int = 1, batches_per_epoch: int = 1000) -> TrainingStarted:
    return TrainingStarted(
        0.0, "plain", {}, {}, ("loss",), ("all",), (0.1,), epochs, 1, batches_per_epoch, 1, 1, "", "", 1, "cpu", ""
    )  # fmt: skip


def epoch_ended(fitness: float | None = 0.5) -> EpochEnded:
    return EpochEnded(0.0, 1, 1.0, (), {}, fitness)


def alarms(
    rule: Rule,
    losses: Sequence[float | None] = (),
    *,
    norms: Sequence[float] = (),
    times: Sequence[float] = (),
    allocated: Sequence[int] = (),
    skipped: Sequence[str] = (),
    clip_norm: float | None = None,
    every_s: float = 1.0,
) -> list[int]:
    """The batches, from 0, on which the rule alarms; one batch for each value of the longest sequence."""
    count = max(len(values) for values in (losses, norms, times, allocated, skipped))
    now_s, found = 0.0, []
    for at in range(count):
        now_s += times[at] if times else every_s
        batch = BatchEnded(
            now_s, now_s, 1, at, count, Counts(batches=at + 1),
            loss=losses[at] if losses else 1.0,
            grad_norm=norms[at] if norms else 1.0,
            skipped_by=skipped[at] if skipped else "",
            clip_norm=clip_norm,
            memory_allocated=allocated[at] if allocated else None,
            batch_s=times[at] if times else every_s,
        )  # fmt: skip
        if rule.on_batch(batch):
            found.append(at)
    return found


def wavy(count: int, level: float = 2.0, swing: float = 0.05) -> list[float]:
    """A level that goes up and down a little, the same each time."""
    return [level * (1.0 + swing * ((at * 7919 % 13) / 6.0 - 1.0)) for at in range(count)]
