"""What drove GPU memory. Pure.

Label assignment takes memory by the fullest image of a batch (facts: tensors of batch x most boxes of any one image x
anchors), and the caching allocator keeps what it once took: a rise belongs to the batch that asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.position_text import where
from monitor.core.format import batches, number
from monitor.core.state.trace import MemoryRise
from trainer_hooks.wire.words import Phase

MIB = 1 << 20
SETTLING_BATCHES = 200  # in which memory grows to its level
MAIN_SHARE = 0.5  # of all that was added: one step did it
RECORD = 1.1  # times the largest before: a record by less comes by itself now and then
STEADY_RISES = 4
STEADY_SHARE = 0.4  # of all that was added: no single step did it
FIT_MIN, POINTS_MIN = 0.9, 50  # of the straight line through what is allocated
GROWTH_MIN = 0.01  # of the level, over the line


@dataclass(frozen=True, slots=True)
class Record:
    """A property of the batch at a rise that was larger than in any batch before."""

    label: str
    before: int
    now: int


def rises(case: Case) -> list[MemoryRise]:
    """The rises after memory had come to its level."""
    return [r for r in case.trace.rises if r.at.count > SETTLING_BATCHES]


def main_rise(case: Case) -> MemoryRise | None:
    """The rise that added most; None: there was none, or no single one did it."""
    found = rises(case)
    if not found:
        return None
    most = max(found, key=_added)
    return most if _added(most) >= MAIN_SHARE * sum(map(_added, found)) else None


def _added(rise: MemoryRise) -> int:
    return rise.after - rise.before


def record(rise: MemoryRise) -> Record | None:
    """What was larger in that batch than in any before it; None: nothing that is known."""
    pairs = (
        ("the largest instance count of any one image", rise.shape_before.instances_max, rise.shape.instances_max),
        ("the image size", rise.shape_before.image_size, rise.shape.image_size),
        ("the sequence length", rise.shape_before.sequence_length, rise.shape.sequence_length),
    )
    found = [Record(w, before, now) for w, before, now in pairs if before is not None and now and now > RECORD * before]
    return max(found, key=lambda r: r.now / max(r.before, 1), default=None)


def rise_text(rise: MemoryRise) -> str:
    """From where to where, and when."""
    return f"reserved memory went from {rise.before // MIB:,} to {rise.after // MIB:,} MiB at {where(rise.at)}"


def fullest_batch(case: Case) -> str:
    """The batch of the main rise set a record."""
    rise = main_rise(case)
    found = record(rise) if rise else None
    if rise is None or found is None:
        return ""
    return (
        f"{rise_text(rise)}, where {found.label} was {number(found.now)}, against {number(found.before)} at most before"
    )


def no_record(case: Case) -> str:
    """The batch of the main rise was as others."""
    rise = main_rise(case)
    return (
        f"{rise_text(rise)}, in a batch no larger than others"
        if rise and known_shape(rise) and not record(rise)
        else ""
    )


def known_shape(rise: MemoryRise) -> bool:
    """True where the hook reported how large batches are."""
    shape = rise.shape_before
    return any(v is not None for v in (shape.instances_max, shape.image_size, shape.sequence_length))


def between_epochs(case: Case) -> str:
    """It rose in the first batch of an epoch, or while the trainer was not training."""
    rise = main_rise(case)
    if rise is None or (rise.at.batch > 0 and rise.phase in (Phase.TRAIN, Phase.IDLE)):
        return ""
    return f"{rise_text(rise)}: between two epochs, where validation and saving take memory of their own"


def within_an_epoch(case: Case) -> str:
    """It rose in the middle of training."""
    rise = main_rise(case)
    return f"{rise_text(rise)}, amid training" if rise and not between_epochs(case) else ""


def steady_rises(case: Case) -> str:
    """Rise after rise of about one size."""
    found = rises(case)
    total = sum(map(_added, found))
    if len(found) < STEADY_RISES or max(map(_added, found)) > STEADY_SHARE * total:
        return ""
    first, last = found[0], found[-1]
    over = batches(last.at.count - first.at.count)
    return f"reserved memory rose in {len(found)} steps of about one size over {over}"


def one_step(case: Case) -> str:
    """One step did it."""
    rise = main_rise(case)
    return f"{rise_text(rise)}, most of all it rose in one step" if rise else ""


def straight_line(case: Case) -> str:
    """What is allocated lies on a rising line."""
    rank = case.training.ranks.get(case.rank)
    line = rank.learned.memory.line if rank else None
    if line is None or line.points < POINTS_MIN or line.covar <= 0.0:
        return ""
    fit, slope = line.fit, line.slope
    grown = slope * 2.0 * line.var_at**0.5
    if fit < FIT_MIN or grown < GROWTH_MIN * line.mean:
        return ""
    return f"memory lies on a line that rises by {number(slope * 1000.0 / MIB)} MiB each 1,000 batches (R2 {fit:.2f})"


def leak_found(case: Case) -> str:
    """The detector of leaks says so."""
    return case.found("memory_leak")[0].summary[:160] if case.found("memory_leak") else ""


def fragmented(case: Case) -> str:
    """The detector of fragmentation says so."""
    return case.found("gpu_fragmentation")[0].summary[:160] if case.found("gpu_fragmentation") else ""
