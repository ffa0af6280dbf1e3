"""Turns the policy's factors into absolute values per parameter group, once per incident and with a floor. Pure.

Halving the rate at every rollback is a death spiral (a peer ended at 1/256 of it and below the run without protection),
and a longer warm-up by a trainer's own rules may raise the bias group, where that warms up *down* from a higher rate.
"""

from __future__ import annotations

import math

import msgspec

from monitor.core.model.frameworks import framework_named
from monitor.core.policy.settings import Strengthen
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import TrainingStarted
from trainer_hooks.wire.plan import Change, GroupSettings, Settings

CLIP_NORM_UNKNOWN = 10.0  # a plan needs a number: far above the gradient norms of a healthy training
RAMP_SHARE_MAX = 0.1  # of what is left: five epochs of warm-up in a training of six ended at mAP 0


def current(training: TrainingState, started: TrainingStarted) -> Settings:
    """The settings in force now, as absolute values, with the bias group capped at the rate it uses now."""
    last = training.ranks[0].last if 0 in training.ranks else None
    used = last.rates if last else ()
    if training.ledger.in_force:
        groups = training.ledger.in_force.groups
    else:
        decays = started.base_weight_decays or (0.0,) * len(started.group_names)
        groups = tuple(
            GroupSettings(name=name, base_rate=rate, rate_max=None, weight_decay=decay)
            for name, rate, decay in zip(started.group_names, started.group_rates, decays, strict=False)
        )
    groups = tuple(_capped(group, used[i] if i < len(used) else None) for i, group in enumerate(groups))
    if training.ledger.in_force:
        return msgspec.structs.replace(training.ledger.in_force, groups=groups)
    framework = framework_named(started.framework)
    names, own_clip = framework.settings, framework.clip_norm or CLIP_NORM_UNKNOWN
    return Settings(
        groups=groups,
        clip_norm=last.values.get("clip_norm", own_clip) if last else own_clip,
        momentum=_setting(started, names.momentum, last.values.get("momentum", 0.9) if last else 0.9),
        ramp_batches=0,
        warmup_epochs=_setting(started, names.warmup_epochs, 0.0),
        learning_rate=_setting(started, names.learning_rate, max(started.group_rates, default=0.0)),
        weight_decay=_setting(started, names.weight_decay, max((g.weight_decay for g in groups), default=0.0)),
    )


def _capped(group: GroupSettings, used: float | None) -> GroupSettings:
    """The bias group never passes its rate before the incident, since in some trainers it warms up *down*.

    The others' cap is their base rate.
    """
    if "bias" not in group.name or used is None:
        return group
    return msgspec.structs.replace(group, rate_max=used if group.rate_max is None else min(used, group.rate_max))


def _setting(started: TrainingStarted, name: str, otherwise: float) -> float:
    try:
        return float(started.settings[name])
    except (KeyError, ValueError):  # this framework has no such setting, or writes it in words
        return otherwise


def strengthen(
    before: Settings, user: Settings, rules: Strengthen, started: TrainingStarted, *, restart: bool, epochs_left: float
) -> Settings:
    """The settings for the next try of an incident.

    They are the same for every try, since they start from what was in force before the incident.
    before: when the incident opened; user: before the first incident of the run, which the floor is a share of.
    restart: False for an adjustment in place, which lowers rates and clip alone; True for a rollback, which adds our
    own warm-up, momentum and weight decay. epochs_left: from the checkpoint to the end, which bounds the ramp.
    """
    share = _share(rules.learning_rate, before.learning_rate, rules.floor * user.learning_rate)
    decay = rules.weight_decay if restart else 1.0
    ramp_epochs = min(rules.warmup_epochs, max(epochs_left, 0.0) * RAMP_SHARE_MAX) if restart else 0.0
    return Settings(
        groups=tuple(
            GroupSettings(
                name=g.name, base_rate=g.base_rate * share, rate_max=g.rate_max, weight_decay=g.weight_decay * decay
            )
            for g in before.groups
        ),
        clip_norm=before.clip_norm * _share(rules.clip_norm, before.clip_norm, rules.floor * user.clip_norm),
        momentum=min(before.momentum, rules.momentum) if restart and rules.momentum is not None else before.momentum,
        ramp_batches=round(ramp_epochs * started.batches_per_epoch),
        warmup_epochs=before.warmup_epochs + ramp_epochs,
        learning_rate=before.learning_rate * share,
        weight_decay=before.weight_decay * decay,
        more=_more(before, rules, started) if restart else before.more,
    )


def _more(before: Settings, rules: Strengthen, started: TrainingStarted) -> dict[str, float]:
    """The settings that are weakened only where the policy asks for it."""
    names, more = framework_named(started.framework).settings, dict(before.more)
    factors = {names.warmup_bias_rate: rules.warmup_bias_rate}
    factors |= dict.fromkeys(names.colour_augmentation, rules.colour_augmentation)
    for name, factor in factors.items():
        own = before.more.get(name, _setting(started, name, math.nan)) if name else math.nan
        if factor is not None and math.isfinite(own):
            more[name] = own * factor
    return more


def _share(factor: float, value: float, floor: float) -> float:
    """`factor`, but never so small that `value` would fall below `floor`, and never a raise."""
    return min(max(factor, floor / value if value > 0 else 1.0), 1.0)


def changes(before: Settings, after: Settings, started: TrainingStarted) -> tuple[Change, ...]:
    """Every difference, old and new, as people read it."""
    rate = framework_named(started.framework).settings.learning_rate
    rows = [
        (f"learning rate ({rate})", before.learning_rate, after.learning_rate),
        ("gradient clip (max norm)", before.clip_norm, after.clip_norm),
        ("warm-up (epochs)", before.warmup_epochs, after.warmup_epochs),
        ("momentum", before.momentum, after.momentum),
        ("weight decay", before.weight_decay, after.weight_decay),
    ]
    for name in sorted(before.more.keys() | after.more.keys()):
        own = _setting(started, name, 0.0)
        rows.append((name, before.more.get(name, own), after.more.get(name, own)))
    return tuple(Change(setting=name, old=f"{old:g}", new=f"{new:g}") for name, old, new in rows if old != new)
