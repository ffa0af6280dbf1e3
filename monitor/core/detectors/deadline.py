"""At the present pace the training ends too late."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.state.projection import deadline_kept, finish_s, pace_s, remaining, too_close
from monitor.core.state.view import RunView

STRIDE = 256  # batches between two looks
HOUR_S = 3600.0


class DeadlineConfig(DetectorConfig):
    """At the present pace the training ends after its deadline."""


@register("deadline", DeadlineConfig, Moment.BATCH, at_most=Severity.WARNING)
def deadline(run: RunView, config: DeadlineConfig) -> Finding | None:
    """The projected end lies after the run's deadline by more than the projection may err.

    Silent without a deadline, and where the pace is not known yet.
    """
    state = run.run_state
    if state is None or state.spec.deadline_s is None or run.rank or run.at.count % STRIDE or state.training is None:
        return None
    pace = pace_s(state)
    if pace is None:
        return None
    left = remaining(run.at, state.training.epochs, state.training.batches_per_epoch)
    end = finish_s(run.now_s, left.batches, pace)
    late = end - state.spec.deadline_s
    if deadline_kept(end, state.spec.deadline_s) or too_close(end, state.spec.deadline_s, run.now_s):
        return None
    return run.finding(
        "deadline", "deadline", Severity.WARNING, since=run.at, signal="finish", value=end, limit=end - late,
        summary=f"at {pace:.3g} s a batch the training ends {late / HOUR_S:.1f} h after its deadline",
    )  # fmt: skip
