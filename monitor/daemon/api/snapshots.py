"""What the API answers about a run, as values. Pure: made from the state in the loop, encoded anywhere."""

from __future__ import annotations

from collections import Counter

import msgspec

from monitor.core.model import Finding, Incident
from monitor.core.policy import trust
from monitor.core.policy.settings import Policy
from monitor.core.state import projection
from monitor.core.state.fold import totals_now
from monitor.core.state.ongoing_findings import going_on
from monitor.core.state.run import RunState
from monitor.core.summary import shown_incident, summary_of

FINDINGS_SHOWN = 20


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
    state: (
        str  # "starting", "training", "validate", ..., "gone", or how it ended: "finished", "failed", "stopped", "held"
    )
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


def incident_of(incident: Incident) -> IncidentSummary:
    """The incident in a line."""
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
        action=incident.action,
        attempts=incident.attempts,
        batches_discarded=incident.batches_discarded,
        watch_seen=incident.watch_seen,
        watch_needed=incident.watch_needed,
        outcome=incident.outcome,
    )


def run_summary_of(run: RunState) -> RunSummary:
    """The run in a line."""
    counts, position, training = totals_now(run), run.position, run.training
    return RunSummary(
        run=run.spec.run,
        title=run.spec.title,
        state=_state(run),
        live=not run.ended,
        act=run.spec.act,
        supervised=run.supervisor_pid != 0,
        generation=run.generation,
        epoch=position.epoch if position else None,
        epochs=training.epochs if training else None,
        batch=position.batch if position else None,
        batches_per_epoch=training.batches_per_epoch if training else None,
        batches=counts.batches,
        nonfinite=counts.nonfinite_batches,
        skipped=counts.skipped_by_guard + counts.skipped_by_scaler,
        opened_s=run.opened_s,
        ended_s=run.ended_s,
        last_batch_s=max((rank.last_batch_s for rank in run.ranks.values() if rank.last_batch_s), default=None),
        incident=incident_of(run.incident) if run.incident else None,
        findings=tuple(_finding(found) for found in going_on(run)[:FINDINGS_SHOWN]),
    )


def _finding(found: Finding) -> FindingLine:
    return FindingLine(
        detector=found.detector, severity=str(found.severity), rank=found.rank, epoch=found.at.epoch,
        batch=found.at.batch, since_epoch=found.since.epoch, since_batch=found.since.batch, value=found.value,
        limit=found.limit, summary=found.summary,
    )  # fmt: skip


def _state(run: RunState) -> str:
    if run.ended:
        return run.ended
    if not run.alive:
        return "gone" if run.generation else "starting"
    if run.training is None:
        return "starting"
    return run.phase if run.phase not in {"", "idle", "train"} else "training"


def detail_of(run: RunState, now_s: float, port: int) -> RunDetail:
    """Everything of the run but its lists; `port` is where /metrics is."""
    counts, position, training = totals_now(run), run.position, run.training
    pace_s = projection.pace_s(run)
    eta_s = None
    if run.alive and pace_s is not None and position and training:
        left = projection.remaining(position, training.epochs, training.batches_per_epoch)
        eta_s = projection.finish_s(now_s, left.batches, pace_s)
    leader = run.ranks.get(0)
    return RunDetail(
        summary=run_summary_of(run),
        detail=run.ended_detail,
        framework=training.framework if training else "",
        device=training.device if training else "",
        save_dir=training.save_dir if training else "",
        loss=leader.last.values.get("loss") if leader and leader.last else None,
        pace_s=pace_s,
        eta_s=eta_s,
        deadline_s=run.spec.deadline_s,
        deadline_kept=projection.deadline_kept(eta_s, run.spec.deadline_s) if eta_s is not None else None,
        scaler_overflows=counts.scaler_overflows,
        samples_lost=counts.samples_lost,
        rollbacks=run.rollbacks_used,
        rollback_budget=Policy.model_validate_json(run.policy).rollback.budget,
        checkpoints=dict(Counter(line.verdict for line in checkpoints_of(run) if not line.dropped)),
        incidents=len(run.incidents),
        final_metrics=run.final_metrics,
        port=port,
        in_short=tuple(summary_of(run, shown_incident(run), now_s).labelled()),
    )


def checkpoints_of(run: RunState) -> list[CheckpointLine]:
    """Every checkpoint the run saved, oldest first, with the verdict of now."""
    rules = Policy.model_validate_json(run.policy).rollback
    return [
        CheckpointLine(
            epoch=c.epoch, generation=c.generation, verdict=str(verdict), why=why, saved_s=c.saved_s, size=c.size,
            digest=c.digest, path=c.path, is_best=c.is_best, dropped=c.dropped,
        )
        for c in run.checkpoints
        for verdict, why in [trust.judge(c, run, rules)]
    ]  # fmt: skip
