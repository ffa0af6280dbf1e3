"""The summary that everything for people begins with: at most eight plain sentences about a run or an incident. Pure.

The report, `trainwarden status`, the terminal and the alerts all take it from here, so that all say the same.
"""

from __future__ import annotations

import msgspec

from monitor.core.format import batch_at, count, minute, percent, plural
from monitor.core.model import Family, Incident, IncidentState
from monitor.core.state.epoch_lookup import row_of
from monitor.core.state.epochs import totals_of
from monitor.core.state.projection import failure_rate
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState, TrainingState
from monitor.core.summary.advice import to_do
from monitor.core.summary.crash_text import cause_of_crash, crash_in_brief
from monitor.core.summary.progress import done, now
from monitor.core.summary.time_cost import deadline, time_lost
from trainer_hooks.wire.run_documents import RunOutcome

TRAININGS_NAMED = 5
LABELS = {
    "happened": "What happened",
    "since": "Since",
    "cause": "Likely cause",
    "done": "Done",
    "now": "Now",
    "cost": "Time lost",
    "deadline": "Deadline",
    "to_do": "What to do",
}


class Summary(msgspec.Struct, frozen=True):
    """One sentence or two for each question people ask first, in the order they ask. Empty: nothing to say."""

    happened: str
    since: str
    cause: str  # or that it is not known
    done: str
    now: str  # whether training is healthy
    cost: str  # in time
    deadline: str
    to_do: str

    def labelled(self) -> list[tuple[str, str]]:
        """Label and text of each line, eight at most."""
        return [(label, text) for field, label in LABELS.items() if (text := getattr(self, field))]

    def lines(self) -> tuple[str, ...]:
        """The lines as the terminal and an alert show them."""
        return tuple(f"{label}: {text}" for label, text in self.labelled())


def summary_of(run: RunState, training: TrainingState, incident: Incident | None, now_s: float) -> Summary:
    """The summary of an incident, or of a run without one, as it is at `now_s` (Unix time)."""
    last = shown_incident(run, training) if incident is None and run.ended else incident
    return Summary(
        happened=what_happened(run, training, incident),
        since=_since(run, incident),
        cause=likely_cause(incident),
        done=done(run, training, incident),
        now=now(run, training, last),
        cost=time_lost(run, training, incident),
        deadline=deadline(run, training, incident, now_s),
        to_do=to_do(run, training, last),
    )


def shown_incident(run: RunState, training: TrainingState) -> Incident | None:
    """The incident that a summary of the whole run is about: the live one, else the latest.

    A run that failed after its incidents ended well failed for another reason: none of them is shown.
    """
    last = training.incident or (training.ledger.incidents[-1] if training.ledger.incidents else None)
    over = last is not None and last.state in (IncidentState.RESOLVED, IncidentState.RECOVERED)
    return None if over and run.ended == RunOutcome.FAILED else last


def shown_training(run: RunState) -> TrainingState:
    """The training that a summary of the whole run is about: one with a live incident, else the one that goes on."""
    if run.training.incident:
        return run.training
    troubled = [each for each in run.trainings.values() if each.incident]
    return max(troubled, key=lambda each: each.number, default=run.going_on)


def what_happened(run: RunState, training: TrainingState, incident: Incident | None) -> str:
    """The trouble in one sentence, with its numbers."""
    if incident is None:
        return _without_incident(run, training)
    if incident.family == Family.OPERATOR:
        return f"A person asked for {'other settings' if incident.adjusting_asked else 'a rollback'}."
    row = row_of(training, incident.onset)
    if incident.family == Family.NONFINITE and row is not None and row.nonfinite and row.batches:
        rate = percent(failure_rate(row.nonfinite, row.batches))
        counted = f"{count(row.nonfinite)} of {plural(row.batches, 'batch')}"
        return f"{counted} in epoch {row.epoch} gave NaN or infinity ({rate}).{_later(training, row)}"
    return _sentence(incident.findings[0].summary if incident.findings else incident.family)


def _later(training: TrainingState, row: EpochRow) -> str:
    """The same up to now, where later epochs of the generation had bad batches too; with a space before."""
    later = [each for each in training.epochs if each.generation == row.generation and each.epoch > row.epoch]
    if not any(each.nonfinite for each in later):
        return ""
    bad, of = (sum(getattr(each, name) for each in (row, *later)) for name in ("nonfinite", "batches"))
    return f" Up to epoch {later[-1].epoch}: {count(bad)} of {plural(of, 'batch')}."


def in_brief(run: RunState, training: TrainingState, incident: Incident) -> str:
    """The same for a title, or where it has been said in full: a crash without the message of its exception."""
    if incident.family == Family.CRASH and incident.findings:
        return _sentence(crash_in_brief(incident, training.detail))
    return what_happened(run, training, incident)


def _without_incident(run: RunState, training: TrainingState) -> str:
    trained = totals_of(training).batches
    batches = plural(trained, "batch")
    if run.ended in (RunOutcome.FAILED, RunOutcome.HELD):
        how = f"The run {'is held' if run.ended == RunOutcome.HELD else run.ended} after {batches}"
        return f"{how}{': ' + run.ended_detail if run.ended_detail else ''}."
    if not run.ended and not run.alive and run.died_with_machine == run.generation and run.generation:
        return f"The machine was started again, so the training died after {batches}."
    if not trained:
        what = "batch" if any(each.seen for each in run.trainings.values()) else "training"
        return f"No {what} was seen." if run.ended else f"No {what} was seen yet."
    reported = sum(training.totals.findings.values())
    several = sum(each.seen for each in run.trainings.values()) > 1
    where = f"{batches} of training {training.number}" if several else batches
    others = _of_others(run, training)
    if own := training.ledger.incidents:
        last = f" The last one: {own[-1].state.replace('_', ' ')}."
        return f"{plural(len(own), 'incident')} in {where}.{last}{others}"
    if not reported:
        return f"No problem was found in {where}.{others}"
    return f"No incident in {where}. The detectors reported {plural(reported, 'finding')}.{others}"


def _of_others(run: RunState, training: TrainingState) -> str:
    """The incidents of other trainings of the run, in a sentence with a space before; empty: there are none."""
    with_incidents = [each for each in run.trainings.values() if each is not training and each.ledger.incidents]
    if not with_incidents:
        return ""
    number = sum(len(each.ledger.incidents) for each in with_incidents)
    named = ", ".join(str(each.number) for each in with_incidents[:TRAININGS_NAMED])
    more = " and others" if len(with_incidents) > TRAININGS_NAMED else ""
    word = "training" if len(with_incidents) == 1 else "trainings"
    return f" {plural(number, 'incident')} in {word} {named}{more}."


def _since(run: RunState, incident: Incident | None) -> str:
    if incident is None:
        return f"The run began on {minute(run.opened_s)}."
    onset, opened = incident.began, incident.opened_at
    later = opened.count - onset.count if opened.generation == onset.generation else 0
    noticed = f", {plural(later, 'batch')} later" if later > 0 else ""
    where = batch_at(onset.epoch, onset.batch) if onset.count else "before the first batch"
    return f"{_sentence(where)} The incident opened on {minute(incident.opened_s)}{noticed}."


def likely_cause(incident: Incident | None) -> str:
    """The cause, or that it is not known; empty where nothing needs one."""
    if incident is None or incident.family == Family.OPERATOR:
        return ""
    if incident.family == Family.CRASH:
        return cause_of_crash(incident)
    found = incident.diagnosis
    if found is None:
        return "Not known."
    leading = next((cause for cause in found.causes if cause.family == found.verdict), None)
    if found.verdict and leading is not None:
        return _sentence(leading.title)
    guess = found.causes[0] if found.causes and found.causes[0].score > 0.0 else None
    return f"Not known. Not enough evidence{f'; the best guess is: {guess.title}' if guess else ''}."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
