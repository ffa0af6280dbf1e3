"""Learning rates around an onset: jumps, the plan, the biases' warm-up, the end of warm-up. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.signal_samples import Quantity
from monitor.core.format import batches, rough_percent
from trainer_hooks.wire.messages import BatchEnded

JUMP = 1.5  # times the batch before, and times what a straight line asks for
JUMP_BACK_BATCHES = 64
HIGH = 10.0  # times the base rate: MuSGD's groups differ by 3, the biases of a warm-up by hundreds
NEAR_BEFORE, NEAR_AFTER = 0.02, 0.05  # of the warm-up: where its end counts as near
NEAR_BEFORE_MAX, NEAR_AFTER_MAX = 200, 1000  # batches
NEAR_LEAST = 50  # batches before it, and twice as many after, unless that is much of the warm-up
SHORT_BEFORE, SHORT_AFTER = 0.1, 0.25  # of the warm-up: as much is much
OFF_PLAN = 0.05  # of a rate, from one batch to the next, that no schedule asks for


@dataclass(frozen=True, slots=True)
class Jump:
    """A rate that rose at once."""

    quantity: Quantity
    batch: BatchEnded
    old: float
    new: float


def jump(case: Case) -> Jump | None:
    """The largest jump of any group's rate shortly before the onset, or in its batch."""
    until = case.onset.count
    near = [b for b in case.recent if until - JUMP_BACK_BATCHES <= b.counts.batches <= until]
    found = [j for quantity in case.rates for j in _jumps(quantity, near)]
    return max(found, key=lambda j: j.new / j.old, default=None)


def _jumps(quantity: Quantity, near: list[BatchEnded]) -> list[Jump]:
    known = [(b, value) for b in near if (value := quantity.read(b)) is not None and math.isfinite(value)]
    found = []
    for i, ((_, old), (batch, new)) in enumerate(pairwise(known)):
        line = old + (old - known[i - 1][1]) if i else old  # a warm-up is a straight line
        if old > 0.0 and new > JUMP * old and new > JUMP * line:
            found.append(Jump(quantity, batch, old, new))
    return found


def followed_plan(case: Case) -> bool | None:
    """True where no group's rate moved at once in the batches at hand up to the onset; None: no rates were told.

    Within an epoch a schedule is a smooth line; between two epochs a rate may fall to any value by it, but not rise.
    """
    batches = [b for b in case.recent if b.counts.batches <= case.onset.count]
    if len(batches) < 3 or not case.rates:
        return None
    return not any(_left_line(quantity, batches) for quantity in case.rates)


def _left_line(quantity: Quantity, batches: list[BatchEnded]) -> bool:
    for before, last, now in zip(batches, batches[1:], batches[2:], strict=False):
        older, old, new = quantity.read(before), quantity.read(last), quantity.read(now)
        if older is None or not old or new is None:
            continue
        off = new - (old + (old - older))
        if off > OFF_PLAN * old and new > old * (1.0 + OFF_PLAN):
            return True
        if before.epoch == now.epoch and abs(off) > OFF_PLAN * old:
            return True
    return False


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Where the onset lies in the trainer's own warm-up, in batches since the training began."""

    done: int
    ends: int

    @property
    def near_end(self) -> bool:
        """Within 2 % before and 5 % after it (10 and 25 % of a short one), and never further than 1,000 batches."""
        before = max(min(NEAR_LEAST, SHORT_BEFORE * self.ends), min(NEAR_BEFORE * self.ends, NEAR_BEFORE_MAX))
        after = max(min(2 * NEAR_LEAST, SHORT_AFTER * self.ends), min(NEAR_AFTER * self.ends, NEAR_AFTER_MAX))
        return -before <= self.done - self.ends <= after


def share_of_warm_up(count: int, ends: int) -> str:
    """So many batches, as a share of a warm-up of `ends` batches."""
    share = f"{rough_percent(count / ends)} of its length " if ends > 0 else ""
    return f"{share}({batches(count)})"


def warm_up(case: Case) -> WarmUp | None:
    """Where in warm-up it is; None: the training has none, or does not tell.

    A warm-up told in epochs ends at the latest an epoch before the training does, and is counted from the first epoch,
    not from a resume. One told in steps means optimizer steps.
    """
    training = case.started
    if training is None or training.batches_per_epoch <= 0:
        return None
    done = (case.onset.epoch - 1) * training.batches_per_epoch + case.onset.batch
    names = case.framework.settings
    epochs, steps = case.setting(names.warmup_epochs), case.setting(names.warmup_steps)
    if epochs:
        return WarmUp(done, round(min(epochs, training.epochs - 1) * training.batches_per_epoch))
    if steps and case.setting(names.accumulation) in (None, 1.0):
        return WarmUp(done, round(steps))
    return None


def high_groups(case: Case) -> list[tuple[str, float, float]]:
    """Groups whose rate at the onset was a multiple of the base rate: name, rate, the multiple."""
    base = case.setting(case.framework.settings.learning_rate)
    if not base or base <= 0.0 or not case.after:
        return []
    at = case.after[0]
    rates = [(m.name.removeprefix("learning_rate/"), m.read(at)) for m in case.rates]
    return [(name, rate, rate / base) for name, rate in rates if rate and math.isfinite(rate) and rate >= HIGH * base]
