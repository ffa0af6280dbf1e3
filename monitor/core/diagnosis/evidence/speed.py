"""Where the time of a batch goes, and what stands still. Pure."""

from __future__ import annotations

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.robust import median
from monitor.core.diagnosis.signal_samples import COMPUTE, WAIT_SHARE, Quantity, finite
from monitor.core.format import batches, number, times
from monitor.core.model import Severity

SHARE_MIN = 0.3  # of a batch's time: less waiting is no bound
GREW = 2.0
SLOWER = 1.2
SAME = 1.15
BATCHES_MIN = 8


def _levels(case: Case, quantity: Quantity) -> tuple[float, float] | None:
    """Medians before and since; None: too few."""
    before, after = case.numbers(quantity, "before"), case.numbers(quantity, "after")
    if min(len(before), len(after)) < BATCHES_MIN:
        return None
    return median(before), median(after)


def waits_more(case: Case) -> str:
    """The share of the wait for data grew to where it binds."""
    found = _levels(case, WAIT_SHARE)
    if found is None or found[1] < SHARE_MIN or found[1] < GREW * found[0]:
        return ""
    return f"the wait for data went from {100 * found[0]:.0f} to {100 * found[1]:.0f} % of a batch's time"


def waits_always(case: Case) -> str:
    """It was that large all along."""
    values = finite(WAIT_SHARE.read, case.recent)
    if len(values) < BATCHES_MIN or median(values) < SHARE_MIN or waits_more(case):
        return ""
    return f"the wait for data is {100 * median(values):.0f} % of a batch's time in all the batches at hand"


def waits_little(case: Case) -> str:
    """It is small."""
    found = _levels(case, WAIT_SHARE)
    return f"the wait for data is only {100 * found[1]:.0f} % of a batch's time" if found and found[1] < 0.1 else ""


def computes_as_before(case: Case) -> str:
    """The rest of the batch takes as long as it did."""
    found = _levels(case, COMPUTE)
    same = found is not None and found[0] > 0.0 and found[0] / SAME < found[1] < found[0] * SAME
    return "the rest of a batch takes as long as before" if same else ""


def computes_longer(case: Case) -> str:
    """The rest of the batch takes longer."""
    found = _levels(case, COMPUTE)
    if found is None or found[0] <= 0.0 or found[1] < SLOWER * found[0]:
        return ""
    ratio = times(found[1] / found[0])
    return f"a batch without its wait for data went from {number(found[0])} to {number(found[1])} s ({ratio})"


def throttled(case: Case) -> str:
    """NVML says that the device slows itself down."""
    found = [f for f in case.found("gpu_throttling") if f.severity is not Severity.INFO]
    return found[-1].summary[:160] if found else ""


def stands_still(case: Case) -> str:
    """No batch came any more."""
    found = case.found("hang")
    return found[-1].summary[:160] if found else ""


def one_rank_stands_still(case: Case) -> str:
    """Other ranks are ahead of one: it did not come to the collective that they wait in."""
    counts = {rank.rank: rank.counts.batches for rank in case.training.ranks.values()}
    last = min(counts, key=lambda rank: counts[rank]) if len(counts) > 1 else None
    if last is None or counts[last] == max(counts.values()):
        return ""
    return f"rank {last} is {batches(max(counts.values()) - counts[last])} behind the others"
