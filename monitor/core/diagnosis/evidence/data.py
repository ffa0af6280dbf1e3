"""What the samples, labels and shapes of the batches say. Pure."""

from __future__ import annotations

from collections import Counter

from monitor.core.diagnosis.case import LAST_BATCHES, Case
from monitor.core.diagnosis.onset import EXCURSION
from monitor.core.diagnosis.robust import shift
from monitor.core.diagnosis.signal_samples import LARGEST_INSTANCES, LOSS, NORM, SHAPES
from monitor.core.format import batches, name, number
from monitor.core.state.blame import Blame
from trainer_hooks.wire.messages import NonfiniteSeen

SELDOM = 0.05  # by chance: below it a sample in every bad batch is suspected
NAMED = 3  # samples that a sentence names
MIX_SHIFT, MIX_DELTA = 2.0, 0.6  # spreads, and Cliff's delta: batches of another kind
MIX_BATCHES = 16
GONE = 0.2  # of the instances before
STAYED = 0.5  # of the excursion at the onset that is still there at the end
UNREPEATED_MIN = 4


def same_sample(case: Case) -> str:
    """A sample, or some, explain the bad batches, and that is no chance."""
    found = case.blame
    return _blamed(case.blame) if found.explains else ""


def named_sample(case: Case) -> str:
    """A sample is in more of the bad batches than chance allows, but not in most of them."""
    found = case.blame
    return _blamed(found) if found.samples and not found.explains else ""


def suspected_sample(case: Case) -> str:
    """One is in every bad batch, which chance seldom does, but it is not proven yet."""
    found = case.blame
    if not found.suspect or found.by_chance > SELDOM:
        return ""
    return (
        f"sample {name(found.suspect)} was in each of the {found.batches} bad batches whose samples are known: "
        f"chance alone puts one there in {100.0 * found.by_chance:.2g} % of such cases"
    )


def which_samples(case: Case) -> str:
    """The names of the samples that explain the bad batches."""
    return _names(case.blame) if case.blame.explains else ""


def _names(found: Blame) -> str:
    more = f" and {len(found.samples) - NAMED} more" if len(found.samples) > NAMED else ""
    return ", ".join(name(sample) for sample in found.samples[:NAMED]) + more


def _blamed(found: Blame) -> str:
    hit = round(found.share * found.batches)
    where = f"each of the {found.batches}" if hit == found.batches else f"{hit} of the {found.batches}"
    which = f"one of the samples {_names(found)}" if len(found.samples) > 1 else f"sample {_names(found)}"
    return f"{which} was in {where} bad batches whose samples are known"


def other_samples(case: Case) -> str:
    """Several bad batches, and no sample in two of them."""
    named = _named(case)
    counts = Counter(sample for seen in named for sample in set(seen.samples))
    if len(named) < UNREPEATED_MIN or max(counts.values(), default=0) > 1:
        return ""
    return f"{len(named)} bad batches whose samples are known have no sample in common"


def _named(case: Case) -> list[NonfiniteSeen]:
    return [seen for seen in case.seen if seen.samples]


def extreme_shape(case: Case) -> str:
    """Each of at least two bad batches lies outside everything that was seen before, in the same property."""
    if len(case.bad) < 2:
        return ""
    for quantity in SHAPES:
        known, values = case.numbers(quantity, "before"), case.numbers(quantity, "bad")
        if len(known) < MIX_BATCHES or len(values) < len(case.bad):
            continue
        if min(values) > max(known) or max(values) < min(known):
            low, high = number(min(known)), number(max(known))
            return f"{quantity.label} was outside what was seen before ({low} to {high}) in every bad batch"
    return ""


def other_mix(case: Case) -> str:
    """Batches since the onset are of another kind than those before."""
    kinds = []
    for quantity in SHAPES:
        before, after = case.numbers(quantity, "before"), case.numbers(quantity, "after")
        if min(len(before), len(after)) < MIX_BATCHES:
            continue
        effect, delta = shift(before, after)
        if abs(effect) >= MIX_SHIFT and abs(delta) >= MIX_DELTA:
            kinds.append(quantity.label)
    return f"batches are of another kind since: {', '.join(kinds)}" if kinds else ""


def same_mix(case: Case) -> str:
    """They are of the same kind, as far as is known."""
    known = [m for m in SHAPES if len(case.numbers(m, "before")) >= MIX_BATCHES]
    enough = len(case.after) >= MIX_BATCHES
    return "batches are of the same kind as before" if known and enough and not other_mix(case) else ""


def loss_stepped(case: Case) -> str:
    """The loss went to another level in one step and stays there."""
    known, values = case.usual.levels.get(LOSS.name), case.numbers(LOSS, "after")
    if known is None or len(values) < MIX_BATCHES or case.climb:
        return ""
    first, last = (min(known.spreads(v) for v in some) for some in (values[:3], values[-LAST_BATCHES:]))
    if first < EXCURSION or last < STAYED * first:
        return ""
    return "the loss went to another level at once, and stays there"


def at_the_epochs_edge(case: Case) -> str:
    """It began with the first batches of an epoch."""
    early = case.onset.batch <= 2 and case.onset.count > LAST_BATCHES
    return f"it began with the first batches of epoch {case.onset.epoch}" if early else ""


def components_part(case: Case) -> str:
    """One component of the loss went up while another fell: what is asked of the model changed, not its numbers."""
    if case.bad or len(case.after) < LAST_BATCHES:
        return ""
    up: list[str] = []
    down: list[str] = []
    for part in case.parts:
        known, values = case.usual.levels.get(part.name), case.numbers(part, "after")
        if known is None or len(values) < LAST_BATCHES:
            continue
        away = [known.spreads(value) for value in values]
        middle = sorted(away)[len(away) // 2]
        (up if middle > EXCURSION else down if middle < -EXCURSION else []).append(part.name.removeprefix("part/"))
    return f"component {', '.join(up)} of the loss rose while {', '.join(down)} fell" if up and down else ""


def instances_gone(case: Case) -> str:
    """The labels are gone."""
    known, values = case.numbers(LARGEST_INSTANCES, "before"), case.numbers(LARGEST_INSTANCES, "after")
    if min(len(known), len(values)) < LAST_BATCHES:
        return ""
    before, after = sorted(known)[len(known) // 2], sorted(values)[len(values) // 2]
    if before <= 0 or after > GONE * before:
        return ""
    return f"the largest instance count of any one image fell from {number(before)} to {number(after)}"


def norm_as_usual(case: Case) -> str:
    """The gradient norm stayed within what is usual for most of the batches."""
    known, values = case.usual.levels.get(NORM.name), case.numbers(NORM, "after")
    if known is None or len(values) < LAST_BATCHES:
        return ""
    usual = sum(known.spreads(value) < EXCURSION for value in values)
    return "the gradient norm stayed as usual" if usual >= 0.9 * len(values) else ""


def not_finite(case: Case) -> str:
    """There are non-finite batches."""
    return f"{batches(len(case.bad))} not finite" if case.bad else ""


def whole_bytes(case: Case) -> str:
    """Images of this framework are bytes when they are loaded: no pixel can be NaN."""
    known = case.framework.images_are_bytes
    return "images are loaded as bytes, so no pixel is NaN unless a custom step makes one" if known else ""
