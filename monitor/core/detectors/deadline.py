"""At the present pace the training ends too late."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import EVERY_64
from monitor.core.state.projection import deadline_kept, finish_s, pace_s, remaining, too_close
from monitor.core.state.view import RunView

STRIDE = 256  # batches between two looks
HOUR_S = 3600.0


class DeadlineConfig(DetectorConfig):
    """At the present pace the training ends after its deadline."""


@register("deadline", DeadlineConfig, Family.DEADLINE, Moment.BATCH, at_most=Severity.WARNING, needs=EVERY_64)
def deadline(run: RunView, config: DeadlineConfig) -> Finding | None:
    """The projected end lies after the run's deadline by more than the projection may err.

    Silent without a deadline, and where the pace is not known yet.
    """
    started, due_s = run.training.started, run.deadline_s
    if due_s is None or run.rank or run.at.count % STRIDE or started is None:
        return None
    pace = pace_s(run.training)
    if pace is None:
        return None
    left = remaining(run.at, started.epochs, started.batches_per_epoch)
    end = finish_s(run.now_s, left.batches, pace)
    late = end - due_s
    if deadline_kept(end, due_s) or too_close(end, due_s, run.now_s):
        return None
    return run.finding(
        Severity.WARNING, since=run.at, signal="finish", value=end, limit=end - late,
        summary=f"at {pace:.3g} s a batch the training ends {late / HOUR_S:.1f} h after its deadline",
    )  # fmt: skip
