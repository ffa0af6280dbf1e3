"""How the onset went: a rise over batches, a single event, a top, a collapse. Pure."""

from __future__ import annotations

import math

from monitor.core.diagnosis.case import CLIMB_BATCHES, Case
from monitor.core.diagnosis.onset import EXCURSION
from monitor.core.diagnosis.signal_samples import LOSS, NORM, Quantity, finite
from monitor.core.format import batches, times
from trainer_hooks.wire.messages import Nonfinite

PEAK = 10.0  # times the level (facts: x 10 to x 3,000 before the NaN)
COLLAPSED = 0.1  # times the level, loss and norm
LEAD_RATIO = 10.0
SOON_BATCHES = 4  # in which the first norm is sent, where gradients are gathered over some
ALL_BAD_MIN = 4
ALONE_SHARE = 1.0 / 3.0  # of the good ones around them
SPIKES_BEFORE = 2
SPIKES_SHARE_MAX = 0.05  # of the batches before: more of them are what is usual


def rose(case: Case) -> str:
    """Loss or norm went up over several batches before the worst."""
    if case.climb < CLIMB_BATCHES:
        return ""
    return f"loss or gradient norm rose over {batches(case.climb)} and not at once"


def sudden(case: Case) -> str:
    """One batch was not finite, and nothing showed in those before it."""
    return (
        "the first bad batch came out of nothing: the gradient norm right before it was as usual" if case.sudden else ""
    )


def peaked(case: Case) -> str:
    """The loss was ten times its level and more."""
    ratio = case.peak_ratio(LOSS)
    return f"the loss reached {times(ratio)} of its level" if ratio >= PEAK else ""


def fell_apart(case: Case) -> str:
    """After a rise the numbers overflowed, or the loss fell to nothing with the norm."""
    if case.climb < CLIMB_BATCHES:
        return ""
    if case.bad:
        return "after that rise the numbers were not finite any more"
    if case.end_ratio(LOSS) < COLLAPSED and case.end_ratio(NORM) < COLLAPSED:
        return "after that rise loss and gradient norm fell to nothing: nothing is learnt any more"
    return ""


def norm_first(case: Case) -> str:
    """The norm moved before the loss, by a lot."""
    if case.thin or case.peak_ratio(NORM) < LEAD_RATIO:
        return ""
    norm, loss = _first_out(case, NORM), _first_out(case, LOSS)
    if norm is None or (loss is not None and loss <= norm):
        return ""
    how = f"{batches(loss - norm)} before the loss" if loss is not None else "and the loss has not yet"
    return f"the gradient norm moved {how}, up to {times(case.peak_ratio(NORM))} of its level"


def _first_out(case: Case, quantity: Quantity) -> int | None:
    """Counts.batches of the first batch since the onset in which a signal was out of the usual."""
    known = case.usual.levels.get(quantity.name)
    for batch in case.after:
        value = quantity.read(batch)
        if known is not None and value is not None and known.spreads(value) > EXCURSION:
            return batch.counts.batches
    return None


def one_outlier_began_it(case: Case) -> str:
    """The norm of a single batch jumped from the usual to ten times it and more, and the rise came after."""
    known = case.usual.levels.get(NORM.name)
    norms = finite(NORM.read, case.after[:SOON_BATCHES])
    if known is None or not norms or norms[0] < LEAD_RATIO * known.value:
        return ""
    return f"one batch with {times(norms[0] / known.value)} of the usual gradient norm began it"


def spikes_before(case: Case) -> str:
    """Single batches with ten times the norm came before, and passed."""
    known = case.usual.levels.get(NORM.name)
    norms = case.numbers(NORM, "before")
    if known is None or not norms:
        return ""
    spikes = sum(norm > LEAD_RATIO * known.value for norm in norms)
    if not SPIKES_BEFORE <= spikes <= max(SPIKES_BEFORE, SPIKES_SHARE_MAX * len(norms)):
        return ""
    return f"{spikes} single batches before it had more than ten times the usual gradient norm, and passed"


def every_batch_since(case: Case) -> str:
    """Every batch since the first bad one is bad: the state is damaged, or it overflows each time."""
    later = [b for b in case.good_after if case.bad and b.counts.batches > case.bad[0].counts.batches]
    if len(case.bad) < ALL_BAD_MIN or later:
        return ""
    return f"every one of the {batches(len(case.bad))} since is not finite"


def isolated(case: Case) -> str:
    """Good batches follow the bad ones."""
    if not case.bad or len(case.good_after) < ALL_BAD_MIN or len(case.bad) > ALONE_SHARE * len(case.good_after):
        return ""
    return f"the bad batches stand alone: {len(case.bad)} among {batches(len(case.after))}"


def loss_finite(case: Case) -> str:
    """The forward pass was finite in every bad batch: only gradients were not."""
    gradients = case.has(Nonfinite.GRADIENT)
    if not case.bad or case.has(Nonfinite.LOSS | Nonfinite.PARAMETER) or len(gradients) < len(case.bad):
        return ""
    return "the loss of every bad batch was finite, only gradients were not"


def norm_infinite(case: Case) -> str:
    """What overflows is infinite."""
    norms = [b.grad_norm for b in case.bad if b.grad_norm is not None]
    return "the gradient norm of every bad batch was infinite" if norms and all(map(math.isinf, norms)) else ""


def norm_nan(case: Case) -> str:
    """What is no number at all is seldom an overflow: 0/0, or a root at 0."""
    return "" if not any(math.isnan(b.grad_norm or 0.0) for b in case.bad) else "gradients were NaN, not infinite"


def buffers_clean(case: Case) -> str:
    """Nothing in the forward pass was bad."""
    if not case.bad or case.has(Nonfinite.BUFFER):
        return ""
    return "BatchNorm statistics stayed finite"


def buffers_dirty(case: Case) -> str:
    """The forward pass itself was not finite."""
    dirty = case.has(Nonfinite.BUFFER)
    return f"BatchNorm statistics were hit in {batches(len(dirty))}: the forward pass was not finite" if dirty else ""


def one_component(case: Case) -> str:
    """The same components of the loss, and not all, were not finite each time."""
    names = case_components(case) if len(case.has(Nonfinite.LOSS)) > 1 else []
    return f"only {', '.join(names)} of the loss was not finite, each time" if names else ""


def which_components(case: Case) -> str:
    """Their names."""
    return ", ".join(case_components(case)) if len(case.has(Nonfinite.LOSS)) > 1 else ""


def all_components(case: Case) -> str:
    """Every component was not finite: what they share is."""
    bad = case.has(Nonfinite.LOSS)
    if not bad or len(case.parts) < 2:
        return ""
    every = all(len(finite(part.read, bad)) == 0 for part in case.parts)
    return "every component of the loss was not finite: what they share was" if every else ""


def case_components(case: Case) -> list[str]:
    """The names of the components that were not finite in every bad batch; empty where all or none or others were."""
    bad = case.has(Nonfinite.LOSS)
    if not bad or len(case.parts) < 2:
        return []
    hit = [p for p in case.parts if not finite(p.read, bad)]
    spared = [p for p in case.parts if len(finite(p.read, bad)) == len(bad)]
    whole = hit and spared and len(hit) + len(spared) == len(case.parts)
    return [p.name.removeprefix("part/") for p in hit] if whole else []
