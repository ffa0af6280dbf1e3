"""What is known of a run, for its report: from the daemon or, where none knows it, from what it left on disk."""

from __future__ import annotations

import http
import time

import click

from monitor.cli.failure import Failure, daemon_failures
from monitor.client.http import Client, DeclinedError, UnreachableError, run_path
from monitor.client.last_known import HistoryUnreadable, curves_of, left_by
from monitor.core.model import Incident
from monitor.core.model.curves import Curves
from monitor.core.state.run import RunState
from monitor.errors import EXIT_CONFIG
from monitor.history.curve_query import Range
from monitor.report.report_input import AFTER_ONSET, BEFORE_ONSET, ReportInput, told_in_full, without_statistics


def report_input_of(run: str) -> ReportInput | None:
    """The run as it is now. None: nobody knows more of it than its folder's reports tell. Raises Failure."""
    with daemon_failures():
        return _from_daemon(run) or _from_disk(run)


def _from_daemon(run: str) -> ReportInput | None:
    try:
        with Client() as client:
            state = client.packed(run_path(run, "state"), RunState)
            whole = client.get(run_path(run, "curves"), Curves)
            onsets = {
                incident.number: client.get(run_path(run, "curves"), Curves, **_window(incident))
                for incident in told_in_full(state)
            }
    except UnreachableError:
        return None
    except DeclinedError as error:
        if error.status != http.HTTPStatus.NOT_FOUND:
            raise
        return None
    return ReportInput(state, time.time(), whole, onsets)


def _from_disk(run: str) -> ReportInput | None:
    try:
        left = left_by(run)
        if left is None:
            return None
        for trouble in left.troubles:
            click.echo(f"trainwarden: {trouble}", err=True)
        whole = curves_of(Range(run))
        onsets = {i.number: curves_of(Range(run, **_window(i))) for i in told_in_full(left.run)}
    except HistoryUnreadable as error:
        raise Failure(str(error), EXIT_CONFIG) from error
    return ReportInput(without_statistics(left.run), left.as_of_s, whole, onsets)


def _window(incident: Incident) -> dict[str, int]:
    """The batches around its onset."""
    onset = incident.onset
    return {
        "generation": onset.generation,
        "first": max(onset.count - BEFORE_ONSET, 1),
        "last": onset.count + AFTER_ONSET - 1,
    }
