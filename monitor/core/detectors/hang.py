"""No batch comes any more."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches, duration
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.intervals import LOOP_PHASES, TRAIN, awaited, longest_of, silent_since_s
from monitor.core.state.run import RankState, TrainingState
from monitor.core.state.view import RunView

TICKS_MIN = 3  # without a record: a daemon that was asleep sees one tick before the records that wait for it
BEHIND_BATCHES = 10  # a rank that is this far behind rank 0 and silent; collectives let none be one ahead


class HangConfig(DetectorConfig):
    """No batch comes any more; the stacks of every rank are collected to show where it stands still."""

    act: bool = Field(
        True,
        description="With true a silence that is long enough opens an incident where the stacks are the same at two "
        "looks, and the training is started again from its newest clean checkpoint; with false it only warns. The "
        "default is true because hours of standing still are worth more than one start.",
    )
    floor_s: PositiveFloat = Field(
        30.0,
        description="No silence shorter than this many seconds is reported. Pauses below 30 s happen on any shared "
        "host.",
    )
    intervals: float = Field(
        5.0,
        ge=2,
        description="A silence is reported when it is this many times as long as the longest one of the same phase so "
        "far. Five leaves room for a slow disk or a larger validation.",
    )
    act_floor_s: PositiveFloat = Field(
        900.0,
        description="The training is not started again in a silence shorter than this many seconds. A quarter of an "
        "hour is longer than slow disks and networks take to come back.",
    )
    act_intervals: float = Field(
        20.0,
        ge=2,
        description="Something is done about a silence that is this many times as long as the longest one of the same "
        "phase so far. Twenty leave no room for a slow but healthy one.",
    )
    first_s: PositiveFloat = Field(
        3600.0,
        description="The first batch of a training, and a phase that was never seen to end, may take this many "
        "seconds before something is done. An hour is enough for kernels to be compiled.",
    )
    start_times: float = Field(
        3.0,
        ge=1,
        description="The first batch after a new start by trainwarden may take this many times as long as the first "
        "start took, before something is done. It is also reported where the same training has started twice on this "
        "machine, and takes this many times as long now. Three leave room for a slow disk.",
    )
    start_floor_s: PositiveFloat = Field(
        300.0,
        description="A first batch that is compared with earlier starts may always take this many seconds. In five "
        "minutes a data set is found again after a start of the machine.",
    )
    unknown_s: PositiveFloat = Field(
        2700.0,
        description="A phase that was never seen to end may be silent for this many seconds. 45 minutes are enough "
        "for a compilation or the first validation.",
    )


@register("hang", HangConfig, Family.HANG, Moment.TICK, at_most=Severity.CRITICAL)
def hang(run: RunView, config: HangConfig) -> Finding | None:
    """Nothing for longer than `intervals` times the longest silence of this kind, and never sooner than `floor_s`.

    A kind that was never seen to end (the first batch with its compilation, the first validation) gets `unknown_s`.
    Once the same training has started twice on this machine, its kernels are compiled, and its first batch is reported
    when it takes `start_times` as long as those starts did, the first one aside, and `start_floor_s` at least.
    It is critical much later: see `act_floor_s`, `act_intervals` and `first_s`.
    Where rank 0 continues, it names the ranks that don't: a job whose ranks wait for each other stops as a whole.
    """
    training = run.training
    leader = training.ranks.get(run.rank)
    if leader is None or run.order_pending or not _began(training, leader):
        return None
    if training.silence.idle_ticks < TICKS_MIN:
        return _left_behind(run, training, leader, config)
    waited = run.now_s - silent_since_s(training, leader)
    longest = longest_of(training, awaited(training, leader))
    limit = config.unknown_s if longest is None else max(config.floor_s, config.intervals * longest)
    usual = training.silence.usual_start_s if leader.last_batch_s is None else None
    if usual is not None:
        limit = min(limit, max(config.start_floor_s, config.start_times * usual))
    act_limit = _act_limit(training, leader, longest, config)
    limit = min(limit, act_limit)
    if waited < limit:
        return None
    before = f"; earlier starts here took {duration(usual)} at most" if usual is not None else ""
    doing = "" if training.phase in LOOP_PHASES else f" in phase '{training.phase}' of the trainer"
    return run.finding(
        Severity.CRITICAL if config.act and waited >= act_limit else Severity.WARNING,
        since=run.at,
        signal="batch_s",
        value=waited,
        limit=limit,
        summary=f"training stands still: nothing for {duration(waited)}{doing} (the rule: {duration(limit)}{before})",
    )


def _act_limit(training: TrainingState, leader: RankState, longest: float | None, config: HangConfig) -> float:
    """Seconds of silence after which something is done."""
    started = training.started
    if leader.last_batch_s is None and longest is not None and started is not None and started.plan_id:
        return max(config.start_floor_s, config.start_times * longest)
    if leader.last_batch_s is None or longest is None:
        return config.first_s
    return max(config.act_floor_s, config.act_intervals * longest)


def _began(training: TrainingState, leader: RankState) -> bool:
    """Before its training starts, a script may be busy for hours."""
    return training.started is not None or leader.last_batch_s is not None


def _left_behind(run: RunView, training: TrainingState, leader: RankState, config: HangConfig) -> Finding | None:
    """A rank that is silent while rank 0 trains: a warning at most, since the job continues."""
    longest = training.silence.longest_s.get(TRAIN)
    if longest is None or training.phase not in LOOP_PHASES:
        return None
    limit = max(config.floor_s, config.intervals * longest)
    for rank in training.ranks.values():
        behind = leader.counts.batches - rank.counts.batches
        if behind < BEHIND_BATCHES or rank.idle_ticks < TICKS_MIN or rank.last is None or rank.last_batch_s is None:
            continue
        waited = run.now_s - rank.last_batch_s
        if waited >= limit:
            at, what = rank.last.position, f"nothing from rank {rank.rank} for {duration(waited)}"
            return run.finding(
                Severity.WARNING, rank=rank, since=at, signal="batch_s", value=waited, limit=limit,
                summary=f"{what}, {batches(behind)} behind rank 0 (the rule: {duration(limit)})",
            )  # fmt: skip
    return None
