"""One training as its page shows it: its generations on the axis, what is marked there, its settings. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.state.run import TrainingState
from monitor.report.chart import Mark
from monitor.report.chart_annotations import marks, places
from monitor.report.settings_section import shown_settings


class GenerationPlace(msgspec.Struct, frozen=True):
    """A generation on the axis of the charts, which counts the batches of all generations."""

    generation: int
    before: float  # batches of the generations before it
    batches: int
    epoch: int  # its first; 0: not known


class SettingLine(msgspec.Struct, frozen=True):
    """A setting of the training, as its framework reported it."""

    name: str
    value: str


class SettingChange(msgspec.Struct, frozen=True):
    """One value that changed."""

    generation: int
    epoch: int  # 0: at the start of the generation
    batch: int
    name: str
    old: str
    new: str
    reason: str  # empty: nothing explains it


class TrainingDetail(msgspec.Struct, frozen=True):
    """What is drawn and listed of one training beside its curves."""

    number: int
    part_names: tuple[str, ...]  # of the loss
    group_names: tuple[str, ...]  # of the parameters
    versions: dict[str, str]
    generations: tuple[GenerationPlace, ...]
    marks: tuple[Mark, ...]
    settings: tuple[SettingLine, ...]
    changes: tuple[SettingChange, ...]  # the oldest first


def training_detail_of(training: TrainingState) -> TrainingDetail:
    """The training as it is now."""
    started = training.started or (training.starts[-1] if training.starts else None)
    return TrainingDetail(
        number=training.number,
        part_names=started.part_names if started else (),
        group_names=started.group_names if started else (),
        versions=started.versions if started else {},
        generations=_generations(training),
        marks=tuple(marks(training)),
        settings=tuple(SettingLine(name, started.settings[name]) for name in shown_settings(started))
        if started
        else (),
        changes=(*_planned(training), *_seen(training)),
    )


def _generations(training: TrainingState) -> tuple[GenerationPlace, ...]:
    rows = {number: [row for row in training.epochs if row.generation == number] for number in places(training)}
    return tuple(
        GenerationPlace(
            number, before, sum(row.batches for row in rows[number]), rows[number][0].epoch if rows[number] else 0
        )
        for number, before in places(training).items()
    )


def _planned(training: TrainingState) -> list[SettingChange]:
    """What the plans of its incidents changed."""
    plans = [(incident.number, incident.action.plan) for incident in training.ledger.incidents]
    return [
        SettingChange(plan.generation, 0, 0, one.setting, one.old, one.new, f"incident {number}: {plan.kind}")
        for number, plan in plans
        if plan is not None
        for one in plan.changes
    ]


def _seen(training: TrainingState) -> list[SettingChange]:
    """What the hook saw change."""
    return [
        SettingChange(generation, one.epoch, one.batch, one.name, one.old, one.new, one.reason)
        for generation, one in training.settings_log
    ]
