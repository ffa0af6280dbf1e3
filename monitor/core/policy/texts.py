"""What the policy writes on the terminal, into the timeline and into alerts. Pure.

What is said about an incident begins with its summary (monitor.core.summary), so that all texts say the same.
"""

from __future__ import annotations

from monitor.core.format import batch_at, count, duration, percent, plural, when
from monitor.core.model import ActionKind, CommandGiven, CommandKind, Family, Finding, Incident, Position
from monitor.core.model.frameworks import attached_to
from monitor.core.model.outcomes import signal_name
from monitor.core.state.epochs import batches_unseen
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RunState, TrainingState
from monitor.core.summary import in_brief, summary_of
from trainer_hooks.wire.messages import TrainingStarted
from trainer_hooks.wire.run_documents import Exit
from trainer_hooks.wire.words import OrderKind, OrderOutcome

CHANGES_NAMED = 3
RANKS_NAMED = 8  # in one sentence
TRAININGS_NAMED = 5


def state_text(incident: Incident) -> str:
    """The state of an incident in words: resolved, given up, closed with run."""
    return incident.state.value.replace("_", " ")


def incident_text(run: RunState, training: TrainingState, incident: Incident, now_s: float, more: str = "") -> str:
    """The text of every alert about an incident: its summary, a line for each question, then `more`."""
    return "\n".join([*summary_of(run, training, incident, now_s).lines(), *([more] if more else [])])


def opened_line(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> str:
    """The terminal line for an incident that opens."""
    began = incident.began
    begun = f"at {batch_at(began.epoch, began.batch)}" if began.count else "before the first batch"
    s = summary_of(run, training, incident, now_s)
    since = "" if incident.family == Family.CRASH else f" It began {begun}."
    return f"incident {incident.number} opened: {s.happened}{since}{f' Likely cause: {s.cause}' if s.cause else ''}"


def ended_line(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> str:
    """The terminal line for an incident that ends."""
    s = summary_of(run, training, incident, now_s)
    rest = f"Now: {s.now} Time lost: {s.cost} What to do: {s.to_do}"
    return f"incident {incident.number} {state_text(incident)}: {in_brief(run, training, incident)} {rest}"


def opened_title(run: RunState, training: TrainingState, incident: Incident) -> str:
    """The title of the alert for an incident that opens, after the name of the run."""
    return in_brief(run, training, incident).rstrip(".")


def opened_details(first_tensor: str, changes: str) -> str:
    """What the opening alert says below the summary."""
    return "\n".join(text for text in (first_tensor.strip(), changes) if text)


def changes_text(incident: Incident) -> str:
    """The largest changes since the onset; empty: none is known, or it is a crash, which its exception explains."""
    found = incident.diagnosis if incident.family != Family.CRASH else None
    named = " ".join(shift.text for shift in found.shifts[:CHANGES_NAMED]) if found is not None else ""
    return f"What changed: {named}" if named else ""


def watch_text(finding: Finding, cause: str, *, acts: bool) -> str:
    """The text of an alert about a finding that opens no incident. `acts`: the policy lets its detector act."""
    where = batch_at(finding.at.epoch, finding.at.batch)
    since = batch_at(finding.since.epoch, finding.since.batch)
    seen = f"Seen at {where}." if since == where else f"Seen at {where}; it began at {since}."
    if finding.family == Family.HANG:
        seen = f"The last batch is {where}." if finding.at.count else "No batch has ended yet."
    no_action = f"No action: the policy only alerts on {finding.detector}."
    if acts:
        no_action = "No action: this is a warning, and the policy acts once it is critical."
    if finding.family == Family.HANG and acts:
        no_action = "No action yet: if it stands still for much longer, it is started again where it has a clean state."
    text = f"{seen} {no_action}"
    return f"{text} {cause}" if cause else text


def exit_text(exit_: Exit) -> str:
    """How a process ended."""
    if exit_.code is not None:
        return f"exit code {exit_.code}"
    return signal_name(exit_.signal) if exit_.signal else "exit code not known"


def vanished(training: TrainingState, pid: int) -> str:
    """A training's own process was killed."""
    at = training.position
    where = f"; its last known batch is {batch_at(at.epoch, at.batch)}" if at else ""
    return (
        f"training {training.number} ended without a report: its process {pid} was killed, or it crashed outside "
        f"Python{where}. The run continues without it"
    )


def not_seen(run: RunState) -> str:
    """What of a run's batches is not known; begins with a semicolon. Empty: every one was seen."""
    lost = batches_unseen(run)
    text = f"; {plural(lost, 'batch')} not seen one by one, only counted" if lost else ""
    silent = [each.number for each in run.trainings.values() if each.seen and not each.over]
    named = ", ".join(map(str, silent[:TRAININGS_NAMED]))
    return (
        f"{text}; the end of training {named} was not reported, so its last batches may be missing" if named else text
    )


def planned(started: TrainingStarted) -> str:
    """What a training is about to do: epochs 1 to 8, 100 batches each."""
    last = started.epochs
    epochs = f"epoch {last}" if started.start_epoch == last else f"epochs {started.start_epoch} to {last}"
    each = "" if started.start_epoch == last else " each"
    return f"{epochs}, {plural(started.batches_per_epoch, 'batch')}{each}" if started.batches_per_epoch else epochs


WISHES: dict[str, str] = {
    CommandKind.STOP: "asked to stop",
    CommandKind.ROLLBACK: "asked for a rollback",
    CommandKind.ADJUST: "asked for other settings",
}
ORDERS: dict[str, str] = {
    OrderKind.STOP: "stop",
    OrderKind.ADJUST: "change settings",
    OrderKind.GO_BACK: "go back",
    OrderKind.STACKS: "show its stacks",
}


def onset_of(incident: Incident) -> Position:
    """Where it began, as a report shows it; see `onset_label`."""
    return incident.onset if incident.family == Family.NONFINITE else incident.began


def onset_label(family: str) -> str:
    """What that place is: the first bad batch, or another."""
    return {
        Family.NONFINITE: "first bad batch",
        Family.CRASH: "last batch",
        Family.HANG: "last batch",
        Family.OPERATOR: "asked for at",
    }.get(Family(family) if family in set(Family) else Family.NONFINITE, "began at")


def order_in_words(kind: str) -> str:
    """What an order asks for, after "to"."""
    return ORDERS.get(kind, kind)


def wish(command: CommandGiven) -> str:
    """What a person asked for: ann asked to stop."""
    return f"{command.by} {WISHES[command.kind]}"


def order_answer(kind: str, outcome: str, detail: str) -> str:
    """How an order that belongs to no incident was answered."""
    order = f"the order to {order_in_words(kind)}"
    done = f"the training carried out {order}" if outcome == OrderOutcome.APPLIED else f"{order} was {outcome}"
    return done if outcome == OrderOutcome.APPLIED or not detail else f"{done}: {detail}"


def not_carried_out(outcome: str, detail: str) -> str:
    """The training refused an order, or it failed: a clause."""
    why = f": {detail}" if detail else ""
    return f"the order failed{why}" if outcome == OrderOutcome.FAILED else f"the training {outcome} the order{why}"


def no_training() -> str:
    """A run ended, and no hook ever reported a training."""
    return (
        f"no training was seen in this run. trainwarden attaches by itself to {attached_to()}; for another "
        "training loop see docs/loops.md"
    )


def stopped(training: TrainingState, ranks: list[int], *, acts: bool) -> str:
    """What is said of a training that somebody stopped."""
    named = ", ".join(map(str, ranks[:RANKS_NAMED])) + (" and others" if len(ranks) > RANKS_NAMED else "")
    left = "" if acts else " No action is taken (table.act_on_stopped: false)."
    pid = training.started.pid if training.started and ranks == [0] else "PID"
    return f"rank {named} was stopped from outside, by a signal or a debugger.{left} To continue it: kill -CONT {pid}"


NO_STACKS = "it is not known where training stands still: neither its hook nor the supervisor could read the stacks"


def died_with_machine(run: RunState, training: TrainingState, newest: CheckpointState | None) -> str:
    """The machine was started again while the run trained. `newest`: its last clean state."""
    at = training.left_at
    place = f" in {batch_at(at.epoch, at.batch)}" if at else " before its first batch"
    heard = f", last heard of on {when(run.exited_s)}" if run.exited_s is not None else ""
    again = f"Go on from {newest.place}" if newest else "No clean checkpoint is left; start it anew"
    option = "" if newest else " --anew"
    return (
        f"The machine was started again, so the training died{place}{heard}. "
        f"{again} with: trainwarden resume{option} {run.spec.run}"
    )


def run_failed(run: RunState, crash: str, why: str, newest: CheckpointState | None) -> str:
    """The process of a run failed, and is not started again for the reason `why` (empty: nobody asked for that).

    `crash`: the exception; `newest`: the last clean state.
    """
    because = f": {why}" if why else ""
    again = "start it again"
    if newest is not None:
        again = f"go on from {newest.place} with: trainwarden resume {run.spec.run}"
    return (
        f"{f'{crash}. ' if crash else ''}Training has stopped, and is not started again{because}. "
        f"Read the last lines that the training printed, repair the cause, and {again}."
    )


def no_supervisor(run: str) -> str:
    """The supervisor of a run died."""
    return (
        "Training continues, but nothing can stop it or roll it back any more. "
        f"Take it over with: trainwarden run --adopt {run}"
    )


def unwatched(hook: str, error: str) -> str:
    """A part of the watch is missing."""
    return (
        f"The hook {hook} failed three times and is switched off ({error}). Training goes on as without it. Report the "
        "error, and start the training again with a version in which it is mended."
    )


def bad_batches(nonfinite: int, batches: int) -> str:
    """4 so far (0.97 % of 412 batches)."""
    return f"{count(nonfinite)} so far ({percent(nonfinite / max(batches, 1))} of {plural(batches, 'batch')})"


def not_obeyed(late_s: float) -> str:
    """A stop that the training did not carry out in time."""
    return f"the training did not stop within {duration(late_s)} of the order; its supervisor ends it now"


def since_when(incident: Incident) -> str:
    """Under which conditions the healthy batches of a watch are counted, as the end of a sentence."""
    if incident.family == Family.CRASH:
        return "after the new start"
    if incident.action.kind == ActionKind.ROLLBACK and not incident.action.changes:
        return "since it went back"
    return "at the new learning rate" if incident.acted_on else "without any action"
