"""A run at a glance, as the page's first screen and the live stream show it. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.state import projection
from monitor.core.state.run import RunState
from monitor.daemon.api.snapshots import IncidentSummary, RunSummary, TrainingLine, eta_of, run_summary_of, trainings_of


class RunGlance(msgspec.Struct, frozen=True):
    """What one screen shows of a run. None: not known (yet)."""

    summary: RunSummary
    trainings: tuple[TrainingLine, ...]
    training: int  # the one that goes on, or went on last
    framework: str
    loss: float | None  # of its rank 0, at the last batch that had one
    reserved: int | None  # bytes of GPU memory, likewise
    pace_s: float | None  # seconds a batch
    eta_s: float | None  # Unix time
    deadline_s: float | None
    deadline_kept: bool | None


class IncidentChanged(msgspec.Struct, frozen=True):
    """An incident of a run, as it is now."""

    run: str
    training: int
    incident: IncidentSummary


def glance_of(run: RunState, now_s: float) -> RunGlance:
    """The run as it is now."""
    training = run.going_on
    leader = training.ranks.get(0)
    values = leader.last.values if leader and leader.last else {}
    pace_s, eta_s = eta_of(run, now_s)
    deadline_s = run.spec.deadline_s
    return RunGlance(
        summary=run_summary_of(run),
        trainings=trainings_of(run),
        training=training.number,
        framework=training.started.framework if training.started else "",
        loss=values.get("loss"),
        reserved=_whole(values.get("memory_reserved")),
        pace_s=pace_s,
        eta_s=eta_s,
        deadline_s=deadline_s,
        deadline_kept=projection.deadline_kept(eta_s, deadline_s) if eta_s is not None else None,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
