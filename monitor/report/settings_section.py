"""The settings in force, the learning rate of each group, and what changed since the last clean epoch. Pure."""

from __future__ import annotations

import math

from monitor.core.format import count, value
from monitor.core.model import Incident
from monitor.core.model.frameworks import framework_named
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState, TrainingState
from monitor.report.epoch_rows import clean_row, group_names, onset_row, setting, training_of
from monitor.report.text import safe, table
from trainer_hooks.wire.framework_description import SettingNames
from trainer_hooks.wire.messages import TrainingStarted

SETTINGS_MAX = 40  # of a framework that does not say which ones matter
PLAN = "plan"  # SettingChanged.reason: the settings of a plan came into force
WARM_UP_STEP = 0.1  # warm-up moves a rate by far less than this from one batch to the next
OFF_SCHEDULE = 0.02  # of the planned rate; the trainer's own rounding is far below
HIGH_RATE = 10.0  # times the base rate: MuSGD's groups differ by 3, warm-up of the biases by hundreds


def names_of(started: TrainingStarted | None) -> SettingNames:
    """What the settings are called in the training's framework."""
    return framework_named(started.framework if started else "").settings


def shown_settings(started: TrainingStarted) -> list[str]:
    """Names of the settings that a report shows; the first SETTINGS_MAX where the framework names none of them."""
    wanted = [name for name in names_of(started).shown if name in started.settings]
    return wanted or sorted(started.settings)[:SETTINGS_MAX]


def _clip_known(training: TrainingState, started: TrainingStarted) -> bool:
    """False: nobody said what gradients are clipped to, or whether they are; the policy then assumes a norm."""
    last = training.ranks[0].last if 0 in training.ranks else None
    return framework_named(started.framework).clip_norm is not None or (last is not None and "clip_norm" in last.values)


def in_force(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The settings that matter for stability, as the trainer reported them."""
    started = training_of(training, incident)
    if started is None:
        return []
    rows = [[safe(name), safe(started.settings[name])] for name in shown_settings(started)]
    if incident.at_open.settings and _clip_known(training, started):
        rows.append(["gradient clip (max norm)", value(incident.at_open.settings.clip_norm)])
    versions = ", ".join(f"{safe(name)} {safe(number)}" for name, number in sorted(started.versions.items()))
    return [
        "## Settings in force at the onset",
        "",
        *table(["setting", "value"], rows),
        "",
        f"Versions: {versions or 'not recorded'}.",
    ]


def rates(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The learning rate of each parameter group before, at and after the onset, and what is odd about it."""
    row, clean = onset_row(training, incident), clean_row(training, incident)
    if row is None or not row.rates_first:
        return []
    names = group_names(training, len(row.rates_first))
    started = training_of(training, incident)
    base_name = names_of(started).learning_rate
    header = [
        "group",
        *([f"end of epoch {clean.epoch}"] if clean else []),
        f"start of epoch {row.epoch}",
        "last seen",
        f"of {base_name}",
    ]
    base = setting(started, base_name)
    cells = [_rate_cells(i, name, row, clean, base) for i, name in enumerate(names)]
    lines = ["## Learning rate by group", "", *table(header, cells)]
    remarks = [
        *_schedule(started, names, row, clean),
        *_high_rates(names_of(started), names, row, base),
        *_warm_up(training, incident),
    ]
    return lines + ([""] if remarks else []) + [f"- {remark}" for remark in remarks]


def _rate_cells(index: int, name: str, row: EpochRow, clean: EpochRow | None, base: float | None) -> list[str]:
    at_onset = row.rates_first[index]
    before = [value(_at(clean.rates_last, index))] if clean else []
    return [
        safe(name),
        *before,
        value(at_onset),
        value(_at(row.rates_last, index)),
        f"x {at_onset / base:.3g}" if base else "-",
    ]


def _at(values: tuple[float, ...], index: int) -> float | None:
    return values[index] if index < len(values) else None


def _schedule(started: TrainingStarted | None, names: list[str], row: EpochRow, clean: EpochRow | None) -> list[str]:
    """Whether the scheduler did it: people suspect it first."""
    if clean is None or started is None or len(clean.rates_last) != len(row.rates_first):
        return []
    warming_up = row.epoch - 1 < (setting(started, names_of(started).warmup_epochs) or 0.0)
    planned = 1.0 if warming_up else _decay(started, row.epoch) / _decay(started, clean.epoch)
    allowed = WARM_UP_STEP if warming_up else OFF_SCHEDULE
    pairs = zip(names, clean.rates_last, row.rates_first, strict=True)
    off = [
        f"{safe(name)} {value(old)} -> {value(new)}"
        for name, old, new in pairs
        if old > 0 and abs(new / (old * planned) - 1) > allowed
    ]
    between = f"between the end of epoch {clean.epoch} and the start of epoch {row.epoch}"
    if off:
        return [f"The rate jumped {between}: {', '.join(off)}; the schedule asked for x {planned:.3g}."]
    if warming_up:
        return [f"No group's rate jumped {between}, so the scheduler is not the cause."]
    return [f"Every group's rate followed its schedule {between} (x {planned:.3g}), so the scheduler is not the cause."]


def _decay(started: TrainingStarted, epoch: int) -> float:
    """The share of its base rate that the schedule gives every group in `epoch` (from 1); 1 where none is known.

    A straight line, or half a cosine, from 1 to SettingNames.final_share over the epochs.
    """
    settings = names_of(started)
    last, done = setting(started, settings.final_share), (epoch - 1) / max(started.epochs, 1)
    if last is None:
        return 1.0
    if started.settings.get(settings.cosine) == "True":
        return (1 - math.cos(done * math.pi)) / 2 * (last - 1) + 1
    return max(1 - done, 0.0) * (1 - last) + last


def _high_rates(settings: SettingNames, names: list[str], row: EpochRow, base: float | None) -> list[str]:
    """A group whose rate is a multiple of the base rate: in some trainers the biases warm up *down* from a higher."""
    down = (
        f": while warm-up is on it comes down from {settings.warmup_bias_rate}, and a longer warm-up by that rule "
        "would raise it."
    )
    return [
        f"Group {safe(name)} ran at {value(rate)}, **{math.floor(rate / base)} times {settings.learning_rate}** "
        f"({value(base)}){down if settings.warmup_bias_rate else '.'}"
        for name, rate in zip(names, row.rates_first, strict=False)
        if base and HIGH_RATE * base <= rate < math.inf
    ]


def _warm_up(training: TrainingState, incident: Incident) -> list[str]:
    """Where the onset lies in warm-up: people suspect its end first."""
    started = training_of(training, incident)
    wanted = setting(started, names_of(started).warmup_epochs)
    if wanted is None or started is None or started.batches_per_epoch <= 0:
        return []
    ends = min(wanted, started.epochs - 1)
    if ends <= 0:
        return []
    done = incident.onset.epoch - 1 + incident.onset.batch / started.batches_per_epoch
    if done < ends:
        return [f"Warm-up was on: {done:.2f} of {ends:g} epochs were done at the onset, so its end is not the cause."]
    return [f"Warm-up had ended {done - ends:.2f} epochs before the onset."]


def changed(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """What changed between the last clean epoch and the onset, beside the schedules."""
    clean, onset = clean_row(training, incident), incident.onset
    since = clean.epoch if clean else 0
    rows = [
        [
            f"epoch {c.epoch}, batch {count(c.batch)}",
            safe(c.name),
            f"{safe(c.old)} -> {safe(c.new)}",
            safe(c.reason) or "unexplained",
        ]
        for generation, c in training.settings_log
        if generation == onset.generation
        and since <= c.epoch
        and (c.epoch, c.batch) <= (onset.epoch, onset.batch)
        and not (c.reason == PLAN and c.wall_s >= incident.opened_s)  # it went back in its process
    ]
    title = f"## What changed since epoch {since}" if clean else "## What changed before the onset"
    if not rows:
        return [title, "", "No setting changed, except by its schedule (learning rate and momentum, above)."]
    return [title, "", *table(["where", "setting", "change", "why"], rows)]
