"""What the state of the model, a resume, the scaler and the hardware say. Pure."""

from __future__ import annotations

import math
import re

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.onset import EXCURSION
from monitor.core.diagnosis.signal_samples import LOSS, finite
from monitor.core.format import batches, name, number, plural
from monitor.core.model import Severity
from trainer_hooks.wire.messages import Nonfinite

RESUME_BATCHES = 20  # the first step after a resume, and what a detector needs to see it
RESUME_FAR_BATCHES = 200
LEVEL_RATIO = 1.5  # of the last epoch's mean loss before the resume
STORM = 3
FRESH_BATCHES = 3
RANK_BATCHES = 3
STATISTICS = re.compile(r"running_(mean|var)|\bema\b|_ema\b")
ERRORS = re.compile(r"XID|ECC|remapped")


def scaler_on(case: Case) -> str:
    """Gradients are scaled: mixed precision in 16-bit floats."""
    on = case.started is not None and case.started.scaler_enabled
    return "mixed precision with a gradient scaler is on" if on or _scales(case) else ""


def scaler_off(case: Case) -> str:
    """They are not."""
    known = case.started is not None and not case.started.scaler_enabled and not _scales(case)
    return "there is no gradient scaler: no mixed precision in 16-bit floats" if known else ""


def _scales(case: Case) -> bool:
    return any((b.loss_scale or 1.0) > 1.0 for b in case.recent)


def scale_fell(case: Case) -> str:
    """The scaler lowered its scale since the onset."""
    before = [b.loss_scale for b in case.before if b.loss_scale]
    after = [b.loss_scale for b in case.after if b.loss_scale]
    if not before or not after or min(after) >= before[-1]:
        return ""
    return f"the scaler lowered its scale from {number(before[-1])} to {number(min(after))}"


def overflows_often(case: Case) -> str:
    """Overflow after overflow: one alone is how a scaler works."""
    rank = case.training.ranks.get(case.rank)
    seen = [c for c in rank.learned.scaler.overflows if c >= case.onset.count] if rank else []
    return f"the scaler overflowed {plural(len(seen), 'time')} since" if len(seen) >= STORM else ""


def scale_below_one(case: Case) -> str:
    """Even a scale below 1 overflows: the gradients themselves are out of range."""
    scales = [b.loss_scale for b in case.after if b.loss_scale]
    if not scales or min(scales) >= 1.0:
        return ""
    return f"the scale fell to {number(min(scales))}: the gradients themselves are out of range"


def broken_amp_from_the_start(case: Case) -> str:
    """Not finite from the very first batches of a fresh training in mixed precision."""
    fresh = case.first.generation == 1 and case.started is not None and case.started.start_epoch <= 1
    if not fresh or case.first.count > FRESH_BATCHES or not scaler_on(case):
        return ""
    return f"not finite from batch {case.first.batch} of the first epoch on, in mixed precision"


def device_known_for_it(case: Case) -> str:
    """A device that the framework refuses mixed precision on."""
    device, broken = case.started.device if case.started else "", case.framework.broken_amp_devices
    known = broken and re.search(broken, device)
    return f"the device is {name(device)}, known for wrong results in it" if known else ""


def later_than_the_start(case: Case) -> str:
    """Batches were fine before."""
    late = case.first.count > FRESH_BATCHES
    return f"before it, {batches(case.first.count - 1)} of this generation had finite values" if late else ""


def buffers_left_bad(case: Case) -> str:
    """A batch left BatchNorm statistics that are not finite behind, though its weights are."""
    left = [b for b in case.recent if b.nonfinite & Nonfinite.BUFFER and not b.cured]
    if not left or any(b.nonfinite & Nonfinite.PARAMETER for b in case.recent):
        return ""
    first = left[0]
    return f"batch {first.batch:,} of epoch {first.epoch} left non-finite BatchNorm statistics behind, weights finite"


def statistics_named(case: Case) -> str:
    """The first bad tensor that was found is one of them."""
    named = [s.first_bad for s in case.seen if STATISTICS.search(s.first_bad)]
    return f"the first bad tensor is {name(named[0])}" if named else ""


def first_tensor(case: Case) -> str:
    """The tensor that was found bad first, wherever one was looked for."""
    named = [s.first_bad for s in case.seen if s.first_bad]
    return f"the first bad tensor is {name(named[0])}" if named else ""


def validation_bad(case: Case) -> str:
    """Validation, which uses running statistics and the EMA, is bad while training, which uses neither, is as usual."""
    found = case.found("validation")
    if not found or training_is_off(case):
        return ""
    return f"training goes on as usual, but {found[0].summary[:160]}"


def fitness_fell_at_once(case: Case) -> str:
    """From one validation to the next."""
    rows = [r for r in case.training.epochs if r.fitness is not None]
    if len(rows) < 2 or not case.found("validation"):
        return ""
    old, new = rows[-2].fitness or 0.0, rows[-1].fitness or 0.0
    fell = old > 0.0 and (not math.isfinite(new) or new <= 0.0)
    return f"fitness fell from {number(old)} to {number(new)} from one epoch to the next" if fell else ""


def training_is_off(case: Case) -> str:
    """The training loss itself is out of the usual."""
    known, values = case.usual.levels.get(LOSS.name), finite(LOSS.read, case.recent[-16:])
    if known is None or not values:
        return ""
    off = sum(known.spreads(value) > EXCURSION for value in values) * 2 > len(values)
    return "the training loss is off its level as well" if off else ""


def weights_bad(case: Case) -> str:
    """Parameters are not finite."""
    bad = case.has(Nonfinite.PARAMETER)
    return f"weights were not finite in {batches(len(bad))}" if bad else ""


def right_after_resume(case: Case) -> str:
    """It began with the first batches of a generation that went on from a checkpoint."""
    if not _resumed(case) or case.first.count > RESUME_BATCHES:
        return ""
    return f"it began {batches(case.first.count)} after the training was resumed from a checkpoint"


def no_good_batch_since_resume(case: Case) -> str:
    """Not one batch of this generation was good."""
    if not _resumed(case) or not case.bad or case.bad[0].counts.batches > 2:
        return ""
    return "the very first batch after the resume was bad"


def level_off_after_resume(case: Case) -> str:
    """The loss is not where it was before the resume."""
    row, values = case.row_before, finite(LOSS.read, case.recent[:RESUME_BATCHES])
    if not _resumed(case) or row is None or not row.loss_count or len(values) < 3:
        return ""
    mean, now = row.loss_sum / row.loss_count, sorted(values)[len(values) // 2]
    if mean <= 0.0 or now < LEVEL_RATIO * mean:
        return ""
    return f"the loss came back at {number(now)}; it was {number(mean)} in the epoch before"


def not_resumed(case: Case) -> str:
    """This generation began from nothing."""
    return "" if case.started is None or _resumed(case) else "the training was not resumed from anything"


def long_after_resume(case: Case) -> str:
    """Batches enough were fine after it."""
    late = _resumed(case) and case.first.count > RESUME_FAR_BATCHES
    return f"{batches(case.first.count - 1)} went by since the resume" if late else ""


def _resumed(case: Case) -> bool:
    return case.started is not None and (case.started.start_epoch > 1 or bool(case.started.plan_id))


def hardware_errors(case: Case) -> str:
    """The device reported errors that no program causes; that NVML itself is in trouble says nothing of the numbers."""
    alarms = [f for f in case.found("gpu_errors") if f.severity is not Severity.INFO]
    found = [f for f in alarms if ERRORS.search(f.summary)]
    return f"the device reports errors: {found[-1].summary[:160]}" if found else ""


def one_rank(case: Case) -> str:
    """The loss of the same single rank was bad every time; gradients are shared, losses are not."""
    counts = {r.rank: r.counts.nonfinite_loss for r in case.training.ranks.values()}
    hit = [rank for rank, count in counts.items() if count]
    if len(counts) < 2 or len(hit) != 1 or counts[hit[0]] < RANK_BATCHES:
        return ""
    return f"the loss was bad on rank {hit[0]} alone, {plural(counts[hit[0]], 'time')}, and on no other rank"


def every_rank(case: Case) -> str:
    """Several ranks had bad losses of their own."""
    hit = [r.rank for r in case.training.ranks.values() if r.counts.nonfinite_loss]
    return f"the loss was bad on {len(hit)} ranks" if len(hit) > 1 else ""
