"""What is known of a run, for its report: from the daemon or, where none knows it, from what it left on disk."""

from __future__ import annotations

import http
import time

import click

from monitor.cli.failure import EXIT_USAGE, Failure, daemon_failures
from monitor.client.http import Client, DeclinedError, UnreachableError, run_path
from monitor.client.last_known import HistoryUnreadable, curves_of, last_known_of
from monitor.core.model import Incident
from monitor.core.model.curves import Curves
from monitor.core.state.run import RunState, TrainingState
from monitor.errors import EXIT_CONFIG
from monitor.history.curve_query import Range
from monitor.report.report_input import AFTER_ONSET, BEFORE_ONSET, ReportInput, shown_in_full, without_statistics


def report_input_of(run: str, training: int = 0) -> ReportInput | None:
    """The run as it is now; `training` is the one that is asked for, or 0 for the one that began last.

    None: nobody knows more of it than its folder's reports say. Raises Failure.
    """
    with daemon_failures():
        return _from_daemon(run, training) or _from_disk(run, training)


def _from_daemon(run: str, number: int) -> ReportInput | None:
    try:
        with Client() as client:
            state = client.packed(run_path(run, "state"), RunState)
            training = _training_of(state, number)
            asked = {"training": training.number}
            whole = client.get(run_path(run, "curves"), Curves, **asked)
            onsets = {
                incident.number: client.get(run_path(run, "curves"), Curves, **asked, **_window(incident))
                for incident in shown_in_full(training)
            }
    except UnreachableError:
        return None
    except DeclinedError as error:
        if error.status != http.HTTPStatus.NOT_FOUND:
            raise
        return None
    return ReportInput(state, time.time(), whole, onsets, training.number)


def _from_disk(run: str, number: int) -> ReportInput | None:
    try:
        left = last_known_of(run)
        if left is None:
            return None
        for trouble in left.troubles:
            click.echo(f"trainwarden: {trouble}", err=True)
        training = _training_of(left.run, number)
        whole = curves_of(Range(run, training=training.number))
        onsets = {
            incident.number: curves_of(Range(run, training=training.number, **_window(incident)))
            for incident in shown_in_full(training)
        }
    except HistoryUnreadable as error:
        raise Failure(str(error), EXIT_CONFIG) from error
    return ReportInput(without_statistics(left.run), left.as_of_s, whole, onsets, training.number)


def _training_of(run: RunState, number: int) -> TrainingState:
    """One training of the run. Raises Failure for a number that it does not have."""
    training = run.trainings.get(number or run.current)
    if training is None:
        known = ", ".join(str(one) for one in sorted(run.trainings))
        raise Failure(f"run {run.spec.run}: has no training {number}; it has {known}", EXIT_USAGE)
    return training


def _window(incident: Incident) -> dict[str, int]:
    """The batches around its onset."""
    onset = incident.onset
    return {
        "generation": onset.generation,
        "first": max(onset.count - BEFORE_ONSET, 1),
        "last": onset.count + AFTER_ONSET - 1,
    }
