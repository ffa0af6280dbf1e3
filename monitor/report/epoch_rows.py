"""Which epochs an incident is told by: the one it began in, the last clean one before, and their like. Pure."""

from __future__ import annotations

from monitor.core.model import EpochStatus, Incident
from monitor.core.state.epoch_lookup import row_of
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import TrainingStarted


def onset_row(training: TrainingState, incident: Incident) -> EpochRow | None:
    """The pass through the epoch of the first bad batch; None: no batch of it was recorded."""
    return row_of(training, incident.onset)


def rows_around(training: TrainingState, incident: Incident) -> tuple[list[EpochRow], list[EpochRow]]:
    """The passes before that one, and from it on, as they were trained: one process may train an epoch again later."""
    onset, row, rows = incident.onset, onset_row(training, incident), training.epochs
    first = next((place for place, each in enumerate(rows) if each is row), None)
    if first is None:
        first = sum((each.generation, each.epoch) < (onset.generation, onset.epoch) for each in rows)
    return rows[:first], rows[first:]


def clean_row(training: TrainingState, incident: Incident) -> EpochRow | None:
    """The last whole epoch before the onset without a non-finite batch; None: there is none.

    It may have been given up since, by a rollback that went further back.
    """
    whole = [row for row in rows_around(training, incident)[0] if row.ended_s is not None and not row.nonfinite]
    ended = [row for row in whole if row.status in (EpochStatus.ENDED, EpochStatus.DISCARDED)]
    return ended[-1] if ended else None


def group_names(training: TrainingState, groups: int) -> list[str]:
    """Names of the optimizer's parameter groups, in their order."""
    names = training.started.group_names if training.started else ()
    return [names[i] if i < len(names) else f"group{i}" for i in range(groups)]


def part_names(training: TrainingState) -> tuple[str, ...]:
    """Names of the loss components."""
    return training.started.part_names if training.started else ()


def part_means(row: EpochRow) -> list[float | None]:
    """Mean of each loss component over the batches where it was finite; None: none was."""
    return [total / seen if seen else None for total, seen in zip(row.part_sums, row.part_counts, strict=True)]


def training_of(training: TrainingState, incident: Incident) -> TrainingStarted | None:
    """What the trainer told when the generation of the onset began: a rollback tells it anew, with other settings."""
    return incident.at_open.started or training.started


def setting(started: TrainingStarted | None, name: str) -> float | None:
    """A hyperparameter as a number; None: the framework has none of that name, or writes it in words."""
    text = started.settings.get(name, "") if started else ""
    try:
        return float(text)
    except ValueError:
        return None
