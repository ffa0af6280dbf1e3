"""What a report of a whole run is written from: its state without the statistics, and its curves. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model import Incident
from monitor.core.model.curves import Curves
from monitor.core.state.run import RankState, RunState

BEFORE_ONSET = 200  # batches of the curves around an onset
AFTER_ONSET = 400
ONSETS_MAX = 10  # incidents told in full, with curves; the table of incidents holds every one


class ReportInput(msgspec.Struct, frozen=True):
    """One run as it is at `now_s` (Unix time)."""

    run: RunState
    now_s: float
    whole: Curves = msgspec.field(default_factory=Curves)
    onsets: dict[int, Curves] = {}  # by number of the incident, in batches of the generation of its onset


def told_in_full(run: RunState) -> list[Incident]:
    """The latest incidents, ONSETS_MAX at most, oldest first."""
    return run.incidents[-ONSETS_MAX:]


def without_statistics(run: RunState) -> RunState:
    """A shallow copy that holds what a report tells, without what only detectors ask: tens of kB, not hundreds."""
    ranks = {
        n: RankState(r.rank, counts=r.counts, last_batch_s=r.last_batch_s, last=r.last) for n, r in run.ranks.items()
    }
    checkpoints = [msgspec.structs.replace(checkpoint, learned=None) for checkpoint in run.checkpoints]
    return msgspec.structs.replace(run, ranks=ranks, checkpoints=checkpoints, streaks=dict(run.streaks))
