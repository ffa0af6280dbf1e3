"""What the API answers about a run, as values. Pure: made from the state in the loop, encoded anywhere."""

from __future__ import annotations

from collections import Counter

import msgspec

from monitor.core.model import Finding, Incident, Severity
from monitor.core.policy import trust
from monitor.core.policy.restarts import answer_of, why_none
from monitor.core.policy.settings import Policy
from monitor.core.state import projection
from monitor.core.state.epochs import totals_of, totals_of_run
from monitor.core.state.finding_log import going_on
from monitor.core.state.run import RunState, TrainingState
from monitor.core.state.status import status_of, training_status_of
from monitor.core.summary import shown_incident, shown_training, summary_of
from trainer_hooks.wire.words import ReadBack

FINDINGS_SHOWN = 20
_ORDER = list(Severity)


class IncidentSummary(msgspec.Struct, frozen=True):
    """One incident in a line."""

    id: str
    number: int
    family: str
    severity: str
    state: str
    live: bool
    opened_s: float
    closed_s: float | None
    onset_epoch: int
    onset_batch: int
    action: str
    attempts: int
    batches_discarded: int
    watch_seen: int
    watch_needed: int
    outcome: str
    settings_read_back: bool = False  # after the warm-up of its last plan, and every one was the plan's
    settings_differ: tuple[str, ...] = ()  # sentences: what was read back and is not the plan's
    acknowledged_by: str = ""  # empty: nobody did


class FindingLine(msgspec.Struct, frozen=True):
    """What a detector reports now."""

    detector: str
    severity: str
    rank: int
    epoch: int  # where it was last reported
    batch: int
    since_epoch: int
    since_batch: int
    value: float
    limit: float
    summary: str


class RunSummary(msgspec.Struct, frozen=True):
    """One run in a line. None: not known (yet)."""

    run: str
    title: str
    state: str  # "starting", "training", ..., "gone", or how it ended: "finished", "failed", "given up", "stopped" ...
    live: bool  # not ended
    act: bool
    supervised: bool
    generation: int
    epoch: int | None
    epochs: int | None
    batch: int | None
    batches_per_epoch: int | None
    batches: int
    nonfinite: int
    skipped: int
    opened_s: float
    ended_s: float | None
    last_batch_s: float | None
    incident: IncidentSummary | None  # the live one
    findings: tuple[FindingLine, ...] = ()  # going on now, the worst first


class TrainingLine(msgspec.Struct, frozen=True):
    """One training of a run in a line. None: not known (yet)."""

    number: int
    state: str  # as that of a run; "waiting": its process has not begun it again
    generation: int
    epoch: int | None
    epochs: int | None
    batches: int
    nonfinite: int
    incidents: int


class RunDetail(msgspec.Struct, frozen=True):
    """Everything `status RUN` shows."""

    summary: RunSummary
    detail: str  # why it ended
    framework: str
    device: str
    save_dir: str
    loss: float | None
    pace_s: float | None  # seconds a batch
    eta_s: float | None  # Unix time
    deadline_s: float | None
    deadline_kept: bool | None
    scaler_overflows: int
    samples_lost: int
    rollbacks: int
    rollback_budget: int
    checkpoints: dict[str, int]  # by verdict
    incidents: int
    final_metrics: dict[str, float]
    port: int
    in_short: tuple[tuple[str, str], ...] = ()  # label and sentence of each line of the summary
    trainings: tuple[TrainingLine, ...] = ()
    restart: str = ""  # RestartAnswer: whether a plan follows after the present generation died
    not_restarted: str = ""  # why none does, a clause
    alerts: dict[str, int] = {}  # "<receiver>/<outcome>": alerts that are settled
    alerts_waiting: int = 0  # that a receiver has not taken yet
    restart_until_s: float = 0.0  # GenerationDied.until_s of the question that both answer; 0: none was asked


class CheckpointLine(msgspec.Struct, frozen=True):
    """A checkpoint and whether it may be trusted."""

    epoch: int
    generation: int
    verdict: str
    why: str
    saved_s: float
    size: int
    digest: str
    path: str  # of the copy in the vault; empty: not adopted
    is_best: bool
    dropped: bool  # the copy is gone
    training: int = 1
    batches: int = 0  # of its generation, when it was saved
    extra_batches: int = 0  # of the epoch after `epoch`, which it holds as well; above 0: a snapshot


def incident_of(training: TrainingState, incident: Incident) -> IncidentSummary:
    """The incident in a line."""
    plan = incident.action.plan.id if incident.action.plan else None
    applied = [one for _, one in training.applied if one.plan_id == plan]
    differ = tuple(sentence for one in applied for sentence in one.mismatches)
    return IncidentSummary(
        id=incident.id,
        number=incident.number,
        family=incident.family,
        severity=str(incident.severity),
        state=str(incident.state),
        live=incident.live,
        opened_s=incident.opened_s,
        closed_s=incident.closed_s,
        onset_epoch=incident.onset.epoch,
        onset_batch=incident.onset.batch,
        action=incident.action.kind,
        attempts=incident.totals.attempts,
        batches_discarded=incident.totals.batches_discarded,
        watch_seen=incident.watch.seen,
        watch_needed=incident.watch.needed,
        outcome=incident.outcome,
        settings_read_back=not differ and any(one.when == ReadBack.RAMP_END for one in applied),
        settings_differ=differ,
        acknowledged_by=incident.acknowledged_by,
    )


def kept_checkpoints(run: RunState) -> int:
    """Copies of the run's checkpoints that are still there."""
    return sum(not line.dropped for line in checkpoints_of(run))


def run_summary_of(run: RunState) -> RunSummary:
    """The run in a line: its present training, and the sums over every one."""
    counts, training = totals_of_run(run), run.going_on
    position, started = training.position, training.started
    return RunSummary(
        run=run.spec.run,
        title=run.spec.title,
        state=status_of(run),
        live=not run.ended,
        act=run.spec.act,
        supervised=run.supervisor_pid != 0,
        generation=run.generation,
        epoch=position.epoch if position else None,
        epochs=started.epochs if started else None,
        batch=position.batch if position else None,
        batches_per_epoch=started.batches_per_epoch if started else None,
        batches=counts.batches,
        nonfinite=counts.nonfinite_batches,
        skipped=counts.skipped,
        opened_s=run.opened_s,
        ended_s=run.ended_s,
        last_batch_s=_last_batch_s(run),
        incident=_live_incident(run),
        findings=tuple(_finding(found) for found in _going_on(run)[:FINDINGS_SHOWN]),
    )


def _going_on(run: RunState) -> list[Finding]:
    """What detectors say now of the trainings that go on, and of the one that began last; the worst first."""
    shown = [each for each in run.trainings.values() if each is run.training or run.trains(each)]
    every = [finding for training in shown for finding in going_on(run, training)]
    return sorted(every, key=lambda finding: -_ORDER.index(finding.severity))


def _last_batch_s(run: RunState) -> float | None:
    ranks = [rank for training in run.trainings.values() for rank in training.ranks.values()]
    return max((rank.last_batch_s for rank in ranks if rank.last_batch_s), default=None)


def incidents_of(run: RunState) -> list[tuple[TrainingState, Incident]]:
    """The incidents of every training, by their numbers."""
    every = [(training, incident) for training in run.trainings.values() for incident in training.ledger.incidents]
    return sorted(every, key=lambda pair: pair[1].number)


def _live_incident(run: RunState) -> IncidentSummary | None:
    """That of the present training, else the newest of another."""
    if run.training.incident:
        return incident_of(run.training, run.training.incident)
    live = [(training, incident) for training, incident in incidents_of(run) if incident.live]
    return incident_of(*live[-1]) if live else None


def trainings_of(run: RunState) -> tuple[TrainingLine, ...]:
    """Every training that was heard of, by number."""
    return tuple(_training_line(run, each) for _, each in sorted(run.trainings.items()) if each.seen)


def _training_line(run: RunState, training: TrainingState) -> TrainingLine:
    counts, started = totals_of(training), training.started or (training.starts[-1] if training.starts else None)
    return TrainingLine(
        number=training.number,
        state=training_status_of(run, training),
        generation=training.generation,
        epoch=training.epochs[-1].epoch if training.epochs else None,
        epochs=started.epochs if started else None,
        batches=counts.batches,
        nonfinite=counts.nonfinite_batches,
        incidents=len(training.ledger.incidents),
    )


def _finding(found: Finding) -> FindingLine:
    return FindingLine(
        detector=found.detector, severity=str(found.severity), rank=found.rank, epoch=found.at.epoch,
        batch=found.at.batch, since_epoch=found.since.epoch, since_batch=found.since.batch, value=found.value,
        limit=found.limit, summary=found.summary,
    )  # fmt: skip


def eta_of(run: RunState, now_s: float) -> tuple[float | None, float | None]:
    """Seconds a batch, and the Unix time at which the training that goes on will have ended."""
    training = run.going_on
    left, pace_s = projection.batches_left(training), projection.pace_s(training)
    if not run.alive or pace_s is None or left is None:
        return pace_s, None
    return pace_s, projection.finish_s(now_s, left, pace_s)


def detail_of(run: RunState, now_s: float, port: int, alerts_waiting: int = 0) -> RunDetail:
    """Everything of the run but its lists; `port` is where /metrics is."""
    counts, training, shown = totals_of_run(run), run.going_on, shown_training(run)
    started = training.started
    pace_s, eta_s = eta_of(run, now_s)
    leader = training.ranks.get(0)
    return RunDetail(
        summary=run_summary_of(run),
        detail=run.ended_detail,
        framework=started.framework if started else "",
        device=started.device if started else "",
        save_dir=started.save_dir if started else "",
        loss=leader.last.values.get("loss") if leader and leader.last else None,
        pace_s=pace_s,
        eta_s=eta_s,
        deadline_s=run.spec.deadline_s,
        deadline_kept=projection.deadline_kept(eta_s, run.spec.deadline_s) if eta_s is not None else None,
        scaler_overflows=counts.scaler_overflows,
        samples_lost=counts.samples_lost,
        rollbacks=sum(each.ledger.rollbacks_used for each in run.trainings.values()),
        rollback_budget=Policy.model_validate_json(run.policy).rollback.budget,
        checkpoints=dict(Counter(line.verdict for line in checkpoints_of(run) if not line.dropped)),
        incidents=len(incidents_of(run)),
        final_metrics=training.final_metrics,
        port=port,
        in_short=tuple(summary_of(run, shown, shown_incident(run, shown), now_s).labelled()),
        trainings=trainings_of(run),
        restart=str(answer_of(run)),
        alerts=dict(run.alerts),
        alerts_waiting=alerts_waiting,
        not_restarted=why_none(run),
        restart_until_s=run.death.until_s if run.death is not None else 0.0,
    )


def checkpoints_of(run: RunState) -> list[CheckpointLine]:
    """Every checkpoint the run saved, oldest first, with the verdict of now."""
    rules = Policy.model_validate_json(run.policy).rollback
    return [
        CheckpointLine(
            epoch=c.epoch, generation=c.generation, verdict=str(verdict), why=why, saved_s=c.saved_s, size=c.size,
            digest=c.digest, path=c.path, is_best=c.is_best, dropped=training.dropped(c),
            training=training.number, batches=c.count, extra_batches=c.extra_batches,
        )
        for training in run.trainings.values()
        for c in training.checkpoints
        for verdict, why in [trust.judge(c, training, rules)]
    ]  # fmt: skip
