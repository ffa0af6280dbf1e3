"""What changed: every number of the batches, every setting and version, before the onset against after it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.evidence.data import at_the_epochs_edge, same_sample
from monitor.core.diagnosis.evidence.memory import MIB, main_rise
from monitor.core.diagnosis.evidence.rate import changes_before
from monitor.core.diagnosis.evidence.rise import all_components
from monitor.core.diagnosis.evidence.state import first_tensor, hardware_errors, one_rank, right_after_resume
from monitor.core.diagnosis.position_text import before_onset
from monitor.core.diagnosis.rates import jump
from monitor.core.diagnosis.robust import SHARP, median, shift
from monitor.core.diagnosis.signal_samples import LOSS, PLAIN, RESERVED, Quantity
from monitor.core.format import NAME_CHARS_MAX, batches, name, number, times
from monitor.core.model import Shift
from monitor.core.model.frameworks import framework_named
from trainer_hooks.wire.messages import BatchEnded

SHIFTS_MAX = 16
BEFORE_MIN = 16
EFFECT_MIN = 3.0  # spreads
DELTA_MIN = 0.5
MOST_DELTA = 0.9  # nearly every batch since is another: not only the bad ones
BAD_EFFECT_MIN = 6.0  # of single bad batches: one value in 64 is 3 spreads away by chance
FACTS = (
    ("sample", same_sample),
    ("rank", one_rank),
    ("device", hardware_errors),
    ("tensor", first_tensor),
    ("phase", at_the_epochs_edge),
    ("phase", right_after_resume),
)
SYMPTOM = EFFECT_MIN  # what was not finite is what the incident is about: the news comes before it
RESTART_BATCHES = 1000  # after the start of a generation its other versions and settings may have to do with it


def shifts(case: Case) -> tuple[Shift, ...]:
    """The largest shifts first, bounded."""
    found = [s for quantity in PLAIN if (s := _of_numbers(case, quantity)) is not None]
    found += [] if all_components(case) else _of_parts(case, next((s for s in found if s.name == LOSS.name), None))
    found += [*_of_rates(case), *_of_memory(case, found), *_of_settings(case), *_of_generations(case), *_of_facts(case)]
    return tuple(sorted(found, key=lambda s: -abs(s.effect))[:SHIFTS_MAX])


def _of_numbers(case: Case, quantity: Quantity) -> Shift | None:
    """One number: all batches since the onset against those before, or the bad ones if it stands out in them alone."""
    before = case.numbers(quantity, "before")
    if len(before) < BEFORE_MIN:
        return None
    lost = _not_finite(quantity, case.after)
    if lost:
        return _lost(quantity, before, lost, len(case.after))
    spans = (
        (case.numbers(quantity, "after"), EFFECT_MIN, MOST_DELTA, "since the onset"),
        (case.numbers(quantity, "bad"), BAD_EFFECT_MIN, DELTA_MIN, "in the bad batches"),
        (case.numbers(quantity, "after"), EFFECT_MIN, DELTA_MIN, "since the onset"),
    )
    for values, effect_min, delta_min, when in spans:
        effect, delta = shift(before, values)
        if abs(effect) >= effect_min and abs(delta) >= delta_min:
            return _shift(quantity, before, values, effect, delta, when)
    return None


def _of_parts(case: Case, loss: Shift | None) -> list[Shift]:
    """The components of the loss, unless each moved as the loss did."""
    found = [s for part in case.parts if (s := _of_numbers(case, part)) is not None]
    alike = loss is not None and len(found) == len(case.parts) and all(s.effect * loss.effect > 0 for s in found)
    return [] if alike else found


def _not_finite(quantity: Quantity, after: Sequence[BatchEnded]) -> int:
    return sum(1 for b in after if (v := quantity.read(b)) is not None and not math.isfinite(v))


def _lost(quantity: Quantity, before: list[float], lost: int, seen: int) -> Shift:
    text = f"{_capital(quantity.label)} was not finite in {lost} of {batches(seen)} since the onset."
    return Shift(quantity.name, _unit(quantity, median(before)), f"not finite ({lost})", SYMPTOM, 1.0, text)


def _shift(
    quantity: Quantity, before: list[float], after: list[float], effect: float, delta: float, when: str
) -> Shift:
    old, new = median(before), median(after)
    ratio = f" ({times(new / old)})" if old > 0.0 and new > 0.0 else ""
    verb = "rose" if new > old else "fell"
    text = f"{_capital(quantity.label)} {verb} from {_unit(quantity, old)} to {_unit(quantity, new)}{ratio} {when}."
    return Shift(quantity.name, _unit(quantity, old), _unit(quantity, new), effect, delta, text)


def _unit(quantity: Quantity, value: float) -> str:
    return f"{number(value)} {quantity.unit}".strip()


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _of_rates(case: Case) -> list[Shift]:
    """A rate moves by its schedule all the time: only a jump is a change."""
    found = jump(case)
    if found is None:
        return []
    earlier = before_onset(case.onset.count - found.batch.counts.batches, case.an_epoch)
    text = f"{_capital(found.quantity.label)} jumped {times(found.new / found.old)}, {earlier}."
    return [Shift(found.quantity.name, number(found.old), number(found.new), SHARP, 1.0, text)]


def _of_memory(case: Case, known: list[Shift]) -> list[Shift]:
    """A step of memory around the onset or after it, which the batches at hand may not reach back to."""
    rise = main_rise(case)
    if rise is None or rise.at.epoch < case.onset.epoch or any(s.name == RESERVED.name for s in known):
        return []
    old, new = f"{rise.before // MIB:,} MiB", f"{rise.after // MIB:,} MiB"
    text = f"Reserved GPU memory rose from {old} to {new} at batch {rise.at.batch:,} of epoch {rise.at.epoch}."
    return [Shift(RESERVED.name, old, new, SHARP, 1.0, text)]


def _of_facts(case: Case) -> list[Shift]:
    """What has no number: samples, rank, device, tensor, and what the trainer was about."""
    return [Shift(what, "-", "since", SHARP, 1.0, f"{_capital(text)}.") for what, ask in FACTS if (text := ask(case))]


def _of_settings(case: Case) -> list[Shift]:
    found = []
    for change in changes_before(case):
        why = name(change.reason) or "nothing explains it"
        earlier = before_onset(case.onset.count - case.count_of(change.epoch, change.batch), case.an_epoch)
        old, new = name(change.old), name(change.new)
        text = f"Setting {name(change.name)} went from {old} to {new}, {earlier} ({why})."
        effect = SHARP if not change.reason else SHARP / 2.0
        found.append(Shift(f"setting/{name(change.name)}", old, new, effect, 1.0, text))
    return found[-SHIFTS_MAX:]


def _of_generations(case: Case) -> list[Shift]:
    """Settings, versions and devices that differ from the start before, where this start was not long ago."""
    starts = case.training.starts[-2:]
    if len(starts) < 2 or case.onset.count > RESTART_BATCHES or starts[-1] != case.started:
        return []
    old, new = starts
    pairs = [("device", old.device, new.device), ("world_size", str(old.world_size), str(new.world_size))]
    ours = framework_named(new.framework).settings.source if new.plan_id else ()
    then, now = ({key: each for key, each in start.settings.items() if key not in ours} for start in starts)
    pairs += _pairs("version", old.versions, new.versions) + _pairs("setting", then, now)
    return [_restarted(kind, before, after) for kind, before, after in pairs if before != after][:SHIFTS_MAX]


def _pairs(kind: str, old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(f"{kind}/{key}", old.get(key, "-"), new.get(key, "-")) for key in sorted({*old, *new})]


def _restarted(what: str, before: str, after: str) -> Shift:
    old, new = name(before), name(after)
    text = f"{_capital(name(what))} was {old} when the training started before; it is {new} now."
    return Shift(name(what)[:NAME_CHARS_MAX], old, new, SHARP, 1.0, text)
