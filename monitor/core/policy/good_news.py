"""What people asked to hear of a training that is well: milestones, and that it finished. Pure."""

from __future__ import annotations

from monitor.core.format import count, duration, plural
from monitor.core.model import AlertKind, EpochStatus, RaiseAlert, RunEnded, Severity
from monitor.core.policy.transaction import Transaction
from monitor.core.state.epochs import totals_of_run
from monitor.core.summary import summary_of
from trainer_hooks.wire.messages import EpochEnded, TrainingEnded
from trainer_hooks.wire.run_documents import RunOutcome

METRICS_SHOWN = 4


def on_epoch_ended(tx: Transaction, event: EpochEnded) -> None:
    """Epoch 1, every so many epochs, and a new best value. An epoch that is redone after a rollback is no news."""
    wanted = tx.policy.milestones
    every = wanted.every_epochs
    if (wanted.first_epoch and event.epoch == 1) or (every and event.epoch % every == 0):
        took = f" It took {duration(event.seconds)}." if event.seconds else ""
        _milestone(tx, f"epoch-{event.epoch}", f"epoch {event.epoch} is done", f"{_shown(event.metrics)}{took}")
    if wanted.best is not None:
        _on_metric(tx, event, wanted.best)


def _on_metric(tx: Transaction, event: EpochEnded, name: str) -> None:
    ended = [row for row in tx.training.epochs if row.status is EpochStatus.ENDED]
    value = event.metrics.get(name)
    if value is None:
        if event.metrics and len(ended) <= 1:
            known = ", ".join(list(event.metrics)[:10])
            tx.notify(f"milestones.best: the training has no metric {name!r}; it has {known}", Severity.WARNING)
        return
    sign = -1.0 if tx.policy.milestones.lower_is_better else 1.0
    before = [sign * row.metrics[name] for row in ended if row.epoch < event.epoch and name in row.metrics]
    if before and sign * value > max(before):
        text = f"{name} is {value:.4g} after epoch {event.epoch}; the best before was {sign * max(before):.4g}."
        _milestone(tx, f"best-{event.epoch}", f"new best {name}: {value:.4g}", text)


def on_finished(tx: Transaction, event: TrainingEnded) -> None:
    """train() returned. Where a supervisor is there, the end of the run says it: a script may have many trainings."""
    if tx.run.supervisor_pid == 0:
        _finished(tx, f"training finished after epoch {event.epoch}")


def on_run_ended(tx: Transaction, event: RunEnded) -> None:
    """The run is over, and well."""
    if event.how == RunOutcome.FINISHED:
        _finished(tx, "training finished")


def _finished(tx: Transaction, title: str) -> None:
    if not tx.policy.alerts.finished:
        return
    totals = totals_of_run(tx.run)
    counted = f"{plural(totals.batches, 'batch')}, {count(totals.nonfinite_batches)} of them not finite."
    summary = summary_of(tx.run, tx.training, None, tx.now_s)
    text = "\n".join([*summary.lines(), counted, _shown(tx.training.final_metrics)]).strip()
    _raise(tx, f"finished/{tx.run.generation}", AlertKind.FINISHED, title, text)


def _milestone(tx: Transaction, which: str, title: str, text: str) -> None:
    _raise(tx, f"milestone/{which}", AlertKind.MILESTONE, title, text.strip() or title)


def _raise(tx: Transaction, about: str, kind: AlertKind, title: str, text: str) -> None:
    id_, run = f"{tx.alert_key}/{about}", tx.run.spec.run
    tx.effects.append(RaiseAlert(id_, run, kind, Severity.INFO, "", f"{tx.name}: {title}", text, tx.now_s))


def _shown(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:METRICS_SHOWN])
