"""What the learning rates, the warm-up, the clip and the settings say. Pure."""

from __future__ import annotations

import math

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.position_text import before_onset, distance, where
from monitor.core.diagnosis.rates import high_groups, jump, share_of_warm_up, warm_up
from monitor.core.diagnosis.signal_samples import NORM
from monitor.core.format import name, number, times
from monitor.core.model import Position
from monitor.core.state.rate_steps import loosens
from trainer_hooks.wire.messages import SettingChanged

BY_HAND_BATCHES = 200  # before the onset: what changed
SOON_BATCHES = 64  # before it, and in short epochs one epoch: what may have caused it
SOON_LEAST = 16
OFTEN = 3  # changes of one setting: a user's own scheduler changes a rate all the time
TRIFLE = 0.1  # of a number
BOUNDARIES = ("boundary", "mosaic", "mixup", "copy_paste", "data")
ADAM = ("adam", "lion", "adafactor")
QUIET = 1.0 / 3.0  # of the norm further back
RATE = "learning_rate"
CLIPS = ("max_grad_norm", "gradient_clip_val", "clip_norm", "clip_grad", "grad_clip")


def rate_jumped(case: Case) -> str:
    """A group's rate rose at once, shortly before."""
    found = jump(case)
    if found is None:
        return ""
    before = before_onset(case.onset.count - found.batch.counts.batches, case.an_epoch)
    ratio = times(found.new / found.old)
    return f"{found.quantity.label} jumped from {number(found.old)} to {number(found.new)} ({ratio}) {before}"


def group_is_high(case: Case) -> str:
    """A group runs at a multiple of the rate that was asked for."""
    found, base = high_groups(case), case.framework.settings.learning_rate
    return "; ".join(f"group {name(g)} ran at {number(r)}, {math.floor(m)} times {base}" for g, r, m in found)


def near_warm_up_end(case: Case) -> str:
    """The onset lies where the warm-up ends, by the settings or by the trainer's own word."""
    place = warm_up(case)
    if place is not None and place.near_end:
        off = place.done - place.ends
        side = f"{share_of_warm_up(abs(off), place.ends)} {'after' if off >= 0 else 'before'}"
        return f"the onset is {side} the end of warm-up" if off else "warm-up ended in the batch of the onset"
    ended = [c for c in changes_before(case) if c.reason == "warm-up ended"] if place is None else []
    return (
        f"the trainer reported that warm-up ended at batch {ended[-1].batch:,} of epoch {ended[-1].epoch}"
        if ended
        else ""
    )


def far_from_warm_up_end(case: Case) -> str:
    """It lies elsewhere, or there is no warm-up to end."""
    place = warm_up(case)
    if place is None or place.near_end:
        return ""
    off = place.done - place.ends
    share = share_of_warm_up(abs(off), place.ends)
    return f"warm-up {'ended' if off > 0 else 'ends'} {share} {'before' if off > 0 else 'after'} the onset"


def rate_at_its_highest(case: Case) -> str:
    """No batch at hand had a higher rate."""
    if not case.rates or not case.after:
        return ""
    now, rates = case.rates[0].read(case.after[0]), case.numbers(case.rates[0], "before")
    if now is None or len(rates) < 2 or now < max(rates) or min(rates) >= now:
        return ""
    return f"the rate was at its highest ({number(now)})"


def no_clip(case: Case) -> str:
    """The settings say that gradients are not clipped: a hook that tells no clip says nothing."""
    keys = [key for key in CLIPS if key in (case.started.settings if case.started else {})]
    if any(b.clip_norm for b in case.recent) or not keys or any(case.setting(key) for key in keys):
        return ""
    return f"gradients are not clipped ({keys[0]}: {name(case.setting_text(keys[0]))})"


def clipped(case: Case) -> str:
    """They are."""
    norms = [b.clip_norm for b in case.recent if b.clip_norm]
    return f"gradients are clipped to a norm of {number(norms[-1])}" if norms else ""


def adam(case: Case) -> str:
    """An optimizer that divides by its second moment."""
    optimizer = case.setting_text("optimizer").lower() or case.setting_text("optim").lower()
    return (
        f"the optimizer ({name(optimizer)}) divides by its second moment" if any(a in optimizer for a in ADAM) else ""
    )


def not_adam(case: Case) -> str:
    """One that has none."""
    optimizer = case.setting_text("optimizer").lower() or case.setting_text("optim").lower()
    return f"the optimizer ({name(optimizer)}) has no second moment" if optimizer in ("sgd", "musgd", "muon") else ""


def quiet_before(case: Case) -> str:
    """The norm had fallen to a third and less of what it was: the second moment may be stale, and too small."""
    far, known = case.far_level(NORM.read), case.usual.levels.get(NORM.name)
    if far is None or known is None or far <= 0.0 or known.value > QUIET * far:
        return ""
    return f"the gradient norm had fallen from {number(far)} to {number(known.value)} before"


def changed_by_hand(case: Case) -> str:
    """A setting changed shortly before, and the trainer gives no reason."""
    changes = [c for c in changes_before(case, _soon(case)) if _news(case, c) and c.name not in BOUNDARIES]
    return "; ".join(_sentence(c) for c in changes[-3:])


def set_loose(case: Case) -> str:
    """The same, of a change by which a training may come apart, right before: it explains what came, whatever else."""
    changes = [c for c in changes_before(case, _soon(case)) if _news(case, c) and loosens(c)]
    return f"right before it {_sentence(changes[-1])}, and nothing explains it" if changes else ""


def who_changed(case: Case) -> str:
    """The last setting that changed unexplained, with its values."""
    changes = [c for c in changes_before(case, _soon(case)) if _news(case, c) and c.name not in BOUNDARIES]
    loose = [c for c in changes if loosens(c)]
    return _sentence((loose or changes)[-1]) if changes else ""


def _soon(case: Case) -> int:
    return min(SOON_BATCHES, max(case.an_epoch, SOON_LEAST)) if case.an_epoch else SOON_BATCHES


def _news(case: Case, change: SettingChanged) -> bool:
    """True for a change that nothing explains, that is no trifle, and that does not come again and again."""
    same = [c for g, c in case.training.settings_log if g == case.first.generation and c.name == change.name]
    return not change.reason and len(same) <= OFTEN and not _trifle(change.old, change.new)


def _trifle(old: str, new: str) -> bool:
    try:
        before, after = float(old), float(new)
    except ValueError:
        return False
    return abs(after - before) <= TRIFLE * abs(before)


def rate_changed_by_hand(case: Case) -> str:
    """The same, of a learning rate."""
    changes = [c for c in changes_before(case, _soon(case)) if _news(case, c) and c.name.startswith(RATE)]
    return f"somebody changed the rate: {_sentence(changes[-1])}" if changes else ""


def nothing_changed_by_hand(case: Case) -> str:
    """No setting did."""
    if changed_by_hand(case) or restarted_otherwise(case):
        return ""
    return f"no setting changed unexplained within {distance(_soon(case), case.an_epoch)} before the onset"


def restarted_otherwise(case: Case) -> str:
    """This start has other settings than the one before, and the onset came soon after it."""
    starts = case.training.starts[-2:]
    if len(starts) < 2 or case.onset.count > BY_HAND_BATCHES or starts[-1] != case.started:
        return ""
    old, new = starts[0].settings, starts[1].settings
    other = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    changed = ", ".join(f"{name(k)} {name(old.get(k, '-'))} -> {name(new.get(k, '-'))}" for k in other[:3])
    return f"it was started with other settings than before: {changed}" if other else ""


def boundary_before(case: Case) -> str:
    """The data changed shortly before, as declared."""
    boundaries = [c for c in changes_before(case) if c.name in BOUNDARIES]
    return f"{_sentence(boundaries[-1])}" if boundaries else ""


def changes_before(case: Case, within: int = BY_HAND_BATCHES) -> list[SettingChanged]:
    """What changed within so many batches before the onset, or with it."""
    found = []
    for generation, change in case.training.settings_log:
        if generation == case.first.generation:
            count = case.count_of(change.epoch, change.batch)
            if case.onset.count - within <= count <= case.onset.count:
                found.append(change)
    return found


def _sentence(change: SettingChanged) -> str:
    at = where(Position(0, change.epoch, change.batch, 0))
    return f"{name(change.name)} went from {name(change.old)} to {name(change.new)} at {at}"
