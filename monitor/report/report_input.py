"""What a report of a whole run is written from: its state without the statistics, and its curves. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model import Incident
from monitor.core.model.curves import Curves
from monitor.core.state.run import RankState, RunState, TrainingState

BEFORE_ONSET = 200  # batches of the curves around an onset
AFTER_ONSET = 400
ONSETS_MAX = 10  # incidents told in full, with curves; the table of incidents holds every one


class ReportInput(msgspec.Struct, frozen=True):
    """One run as it is at `now_s` (Unix time)."""

    run: RunState
    now_s: float
    whole: Curves = msgspec.field(default_factory=Curves)
    onsets: dict[int, Curves] = {}  # by number of the incident, in batches of the generation of its onset
    number: int = 0  # of the training it is about; 0: the one that began last

    @property
    def training(self) -> TrainingState:
        """The training it is about."""
        return self.run.trainings[self.number or self.run.current]


def shown_in_full(training: TrainingState) -> list[Incident]:
    """The latest incidents, ONSETS_MAX at most, oldest first."""
    return training.ledger.incidents[-ONSETS_MAX:]


def without_statistics(run: RunState) -> RunState:
    """A shallow copy that holds what a report tells, without what only detectors ask: tens of kB, not hundreds."""
    trainings = {number: _without_statistics(training) for number, training in run.trainings.items()}
    return msgspec.structs.replace(run, trainings=trainings)


def _without_statistics(training: TrainingState) -> TrainingState:
    ranks = {
        n: RankState(r.rank, counts=r.counts, last_batch_s=r.last_batch_s, last=r.last)
        for n, r in training.ranks.items()
    }
    checkpoints = [msgspec.structs.replace(checkpoint, learned=None) for checkpoint in training.checkpoints]
    return msgspec.structs.replace(training, ranks=ranks, checkpoints=checkpoints, streaks=dict(training.streaks))
