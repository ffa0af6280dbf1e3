"""The finite anomalies of a training that still stand: a high loss, a high norm, a setting that nothing explains. Pure.

A state saved while one stands is finite, but it is not clean; and a trouble began with the earliest one that stood when
its first bad batch came. An anomaly begins with a finding and stands until the numbers are back, or the detectors have
been silent about it for so long that the new level is what the training is like now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from monitor.core.model import Family, Finding, Position
from monitor.core.state.levels import BLOCK, loss_is_off, margin, newest_level, off_since
from monitor.core.state.rate_steps import closer_batches
from monitor.core.state.rows import Anomaly
from monitor.core.state.run import RankState, TrainingState

ANOMALIES_MAX = 64  # that are over, of one training; those that stand are one for each detector and rank
SILENT_BATCHES = 1000  # without a finding: the level is accepted
FAMILIES = (Family.LOSS, Family.GRADIENT, Family.SETTINGS)


def standing(training: TrainingState) -> Anomaly | None:
    """The earliest anomaly that stands now; one of a setting counts as the earlier where blocks do not tell."""
    return _cause_among(training.anomalies.standing)


def standing_at(training: TrainingState, at: Position) -> Anomaly | None:
    """The earliest anomaly that stood at a batch; see `standing`."""
    anomalies = (*training.anomalies.standing, *training.anomalies.past)
    stood = [
        a for a in anomalies if _order(a.since) <= _order(at) and (a.ended is None or _order(at) < _order(a.ended))
    ]
    return _cause_among(stood)


def _cause_among(anomalies: Sequence[Anomaly]) -> Anomaly | None:
    """The earliest; a change of a setting within a block after it, which has a date of its own, is what caused it."""
    earliest = min(anomalies, key=lambda each: _order(each.since), default=None)
    if earliest is None or earliest.family != Family.LOSS:
        return earliest
    changed = [each for each in anomalies if each.family == Family.SETTINGS]
    first = min(changed, key=lambda each: _order(each.since), default=earliest)
    return earliest if _well_before(earliest.since, first.since) else first


def unexplained_setting(training: TrainingState) -> Anomaly | None:
    """The earliest change of a setting that nothing explains and that stands: a known event."""
    changed = [each for each in training.anomalies.standing if each.family == Family.SETTINGS]
    return min(changed, key=lambda each: _order(each.since), default=None)


def onset_of(training: TrainingState, first_bad: Position) -> Position:
    """Where a trouble began: the first bad batch, dated back to the earliest anomaly that stood when it came."""
    anomaly = standing_at(training, first_bad)
    began = first_bad if anomaly is None else min(first_bad, anomaly.since, key=_order)
    leader = training.ranks.get(0)
    if leader is None or first_bad.generation != training.generation:
        return began
    rose = off_since(leader.learned)
    return rose if rose is not None and _well_before(rose, began) else began


def at_level(training: TrainingState) -> bool:
    """True where the newest losses of rank 0 are at the best level that they had; also where nothing is known yet."""
    leader = training.ranks.get(0)
    return leader is None or not loss_is_off(leader.learned)


def note(training: TrainingState, finding: Finding) -> None:
    """A detector reports something: an anomaly begins, or goes on."""
    if finding.family not in FAMILIES:
        return
    rank = training.ranks.get(finding.rank)
    if finding.family == Family.SETTINGS and not (rank and rank.learned.unexplained):
        return
    for known in training.anomalies.standing:
        if (known.detector, known.rank) == (finding.detector, finding.rank):
            known.last = finding.at
            return
    since = finding.since
    rose = off_since(rank.learned) if rank is not None and finding.family == Family.LOSS else None
    if finding.family == Family.LOSS and rose is None and _well_before(since, finding.at):
        return  # a slow rise, and the loss is no higher than in many healthy trainings: from scratch, after a restart
    if rose is not None:
        since = max(since, rose, key=_order)  # a detector dates a slow rise to its lowest mean, long before it
        stood = [each.since for each in training.anomalies.standing if each.family == Family.LOSS]
        since = next((each for each in stood if not _well_before(since, each)), since)
    training.anomalies.standing.append(
        Anomaly(
            finding.detector, finding.family, finding.rank, since, finding.at, finding.signal, finding.limit,
            finding.summary, early=rank is not None and _has_no_level(rank),
        )
    )  # fmt: skip


def follow(training: TrainingState, rank: RankState, at: Position) -> None:
    """A finite batch of a rank has been learned: end what is over."""
    others = len(training.anomalies.standing) > 1
    for anomaly in list(training.anomalies.standing):
        if anomaly.rank == rank.rank and _is_over(anomaly, rank, at, others=others):
            _end(training, anomaly, at)


def end_all(training: TrainingState, at: Position) -> None:
    """The training goes back to before them."""
    for anomaly in list(training.anomalies.standing):
        _end(training, anomaly, at)


def _end(training: TrainingState, anomaly: Anomaly, at: Position) -> None:
    anomaly.ended = at
    training.anomalies.standing.remove(anomaly)
    training.anomalies.past.append(anomaly)
    del training.anomalies.past[:-ANOMALIES_MAX]


def _is_over(anomaly: Anomaly, rank: RankState, at: Position, *, others: bool) -> bool:
    learned, an_epoch = rank.learned, rank.last.batch.batches_per_epoch if rank.last else 0
    silent = at.count - anomaly.last.count if at.generation == anomaly.last.generation else at.count
    if silent >= SILENT_BATCHES:
        return True
    if anomaly.family == Family.SETTINGS:
        return silent >= closer_batches(an_epoch) and not others and not loss_is_off(learned)
    signal = learned.signals.get(anomaly.signal)
    if anomaly.early and anomaly.family == Family.LOSS and silent >= BLOCK and signal is not None and signal.warm:
        return not signal.recent & 1  # it has a level now, and rises no more
    now = newest_level(signal) if signal is not None else None
    if signal is None or now is None or signal.recent & 1:
        return False
    limit = math.asinh(anomaly.limit / signal.unit) if signal.signed else math.log(max(anomaly.limit, 1e-12))
    return now <= limit + (margin(signal) if anomaly.family == Family.LOSS else 0.0)


def _has_no_level(rank: RankState) -> bool:
    loss = rank.learned.signals.get("loss")
    return loss is None or not loss.warm


def _well_before(at: Position, other: Position) -> bool:
    """True where the blocks that date a rise tell the two apart."""
    return at.generation < other.generation or at.count + BLOCK < other.count


def _order(at: Position) -> tuple[int, int]:
    return (at.generation, at.count)
