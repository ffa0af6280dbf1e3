"""The settings in force, the learning rate of each group, and what changed since the last clean epoch. Pure."""

from __future__ import annotations

import math

from monitor.core.format import count, value
from monitor.core.model import Incident
from monitor.core.state.run import EpochRow, RunState
from monitor.report.epoch_rows import clean_row, group_names, onset_row, setting, training_of
from monitor.report.text import safe, table
from trainer_hooks.wire.messages import TrainingStarted

SHOWN = (
    "optimizer", "lr0", "lrf", "cos_lr", "momentum", "weight_decay", "warmup_epochs", "warmup_momentum",
    "warmup_bias_lr", "batch", "nbs", "imgsz", "amp", "epochs", "close_mosaic", "mosaic", "mixup", "multi_scale",
    "model", "data", "seed",
)  # fmt: skip
WARM_UP_STEP = 0.1  # warm-up moves a rate by far less than this from one batch to the next
OFF_SCHEDULE = 0.02  # of the planned rate; the trainer's own rounding is far below
HIGH_RATE = 10.0  # times lr0: MuSGD's groups differ by 3, warm-up of the biases by hundreds


def in_force(run: RunState, incident: Incident, now_s: float) -> list[str]:
    """The settings that matter for stability, as the trainer reported them."""
    training = training_of(run, incident)
    if training is None:
        return []
    rows = [[name, safe(training.settings[name])] for name in SHOWN if name in training.settings]
    if incident.before:
        rows.append(["gradient clip (max norm)", value(incident.before.clip_norm)])
    versions = ", ".join(f"{safe(name)} {safe(number)}" for name, number in sorted(training.versions.items()))
    return [
        "## Settings in force at the onset",
        "",
        *table(["setting", "value"], rows),
        "",
        f"Versions: {versions or 'not recorded'}.",
    ]


def rates(run: RunState, incident: Incident, now_s: float) -> list[str]:
    """The learning rate of each parameter group before, at and after the onset, and what is odd about it."""
    row, clean = onset_row(run, incident), clean_row(run, incident)
    if row is None or not row.rates_first:
        return []
    names = group_names(run, len(row.rates_first))
    header = [
        "group",
        *([f"end of epoch {clean.epoch}"] if clean else []),
        f"start of epoch {row.epoch}",
        "last seen",
        "of lr0",
    ]
    training = training_of(run, incident)
    lr0 = setting(training, "lr0")
    cells = [_rate_cells(i, name, row, clean, lr0) for i, name in enumerate(names)]
    lines = ["## Learning rate by group", "", *table(header, cells)]
    notes = [*_schedule(training, names, row, clean), *_high_rates(names, row, lr0), *_warm_up(run, incident)]
    return lines + ([""] if notes else []) + [f"- {note}" for note in notes]


def _rate_cells(index: int, name: str, row: EpochRow, clean: EpochRow | None, lr0: float | None) -> list[str]:
    at_onset = row.rates_first[index]
    before = [value(_at(clean.rates_last, index))] if clean else []
    return [
        safe(name),
        *before,
        value(at_onset),
        value(_at(row.rates_last, index)),
        f"x {at_onset / lr0:.3g}" if lr0 else "-",
    ]


def _at(values: tuple[float, ...], index: int) -> float | None:
    return values[index] if index < len(values) else None


def _schedule(training: TrainingStarted | None, names: list[str], row: EpochRow, clean: EpochRow | None) -> list[str]:
    """Whether the scheduler did it: people suspect it first."""
    if clean is None or training is None or len(clean.rates_last) != len(row.rates_first):
        return []
    warming_up = row.epoch - 1 < (setting(training, "warmup_epochs") or 0.0)
    planned = 1.0 if warming_up else _decay(training, row.epoch) / _decay(training, clean.epoch)
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


def _decay(training: TrainingStarted, epoch: int) -> float:
    """The share of its base rate that Ultralytics' schedule gives every group in `epoch` (from 1).

    Linear, or the half cosine of cos_lr, from 1 to lrf over the epochs (BaseTrainer._setup_scheduler).
    """
    last, done = setting(training, "lrf"), (epoch - 1) / max(training.epochs, 1)
    if last is None:
        return 1.0
    if training.settings.get("cos_lr") == "True":
        return (1 - math.cos(done * math.pi)) / 2 * (last - 1) + 1
    return max(1 - done, 0.0) * (1 - last) + last


def _high_rates(names: list[str], row: EpochRow, lr0: float | None) -> list[str]:
    """A group whose rate is a multiple of lr0: the biases of Ultralytics warm up *down* from warmup_bias_lr."""
    return [
        f"Group {safe(name)} ran at {value(rate)}, **{math.floor(rate / lr0)} times lr0** ({value(lr0)}): "
        "while warm-up is on it comes down from warmup_bias_lr, and a longer warm-up by that rule would raise it."
        for name, rate in zip(names, row.rates_first, strict=False)
        if lr0 and HIGH_RATE * lr0 <= rate < math.inf
    ]


def _warm_up(run: RunState, incident: Incident) -> list[str]:
    """Where the onset lies in warm-up: people suspect its end first."""
    training = training_of(run, incident)
    wanted = setting(training, "warmup_epochs")
    if wanted is None or training is None or training.batches_per_epoch <= 0:
        return []
    ends = min(wanted, training.epochs - 1)
    done = incident.onset.epoch - 1 + incident.onset.batch / training.batches_per_epoch
    if done < ends:
        return [f"Warm-up was on: {done:.2f} of {ends:g} epochs were done at the onset, so its end is not the cause."]
    return [f"Warm-up had ended {done - ends:.2f} epochs before the onset."]


def changed(run: RunState, incident: Incident, now_s: float) -> list[str]:
    """What changed between the last clean epoch and the onset, beside the schedules."""
    clean, onset = clean_row(run, incident), incident.onset
    since = clean.epoch if clean else 0
    rows = [
        [
            f"epoch {c.epoch}, batch {count(c.batch)}",
            safe(c.name),
            f"{safe(c.old)} -> {safe(c.new)}",
            safe(c.reason) or "unexplained",
        ]
        for generation, c in run.settings_log
        if generation == onset.generation and since <= c.epoch and (c.epoch, c.batch) <= (onset.epoch, onset.batch)
    ]
    title = f"## What changed since epoch {since}" if clean else "## What changed before the onset"
    if not rows:
        return [title, "", "No setting changed, except by its schedule (learning rate and momentum, above)."]
    return [title, "", *table(["where", "setting", "change", "why"], rows)]
