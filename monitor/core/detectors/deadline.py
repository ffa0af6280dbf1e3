"""At the present pace the training ends too late."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import duration
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import EVERY_64
from monitor.core.state.projection import batches_left, deadline_kept, finish_s, pace_s, too_close
from monitor.core.state.view import RunView

STRIDE = 256  # batches between two looks


class DeadlineConfig(DetectorConfig):
    """At the present pace the training ends after its deadline."""


@register("deadline", DeadlineConfig, Family.DEADLINE, Moment.BATCH, at_most=Severity.WARNING, needs=EVERY_64)
def deadline(run: RunView, config: DeadlineConfig) -> Finding | None:
    """The projected end lies after the run's deadline by more than the projection may err.

    Silent without a deadline, and where the pace is not known yet.
    """
    due_s = run.deadline_s
    if due_s is None or run.rank or run.at.count % STRIDE:
        return None
    left, pace = batches_left(run.training), pace_s(run.training)
    if left is None or pace is None:
        return None
    end = finish_s(run.now_s, left, pace)
    late = end - due_s
    if deadline_kept(end, due_s) or too_close(end, due_s, run.now_s):
        return None
    return run.finding(
        Severity.WARNING, since=run.at, signal="finish", value=end, limit=end - late,
        summary=f"at {pace:.3g} s a batch the training ends {duration(late)} after its deadline",
    )  # fmt: skip
