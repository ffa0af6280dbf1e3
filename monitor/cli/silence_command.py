"""`trainwarden silence` and `trainwarden ack`: what a person says about alerts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command, Group
from monitor.cli.failure import EXIT_USAGE, Failure, daemon_failures
from monitor.cli.names import operator

if TYPE_CHECKING:
    from monitor.client.http import Client
    from monitor.daemon.api.alert_routes import SilenceLine

UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
PATH = "/api/v1/silences"


@click.group(
    cls=Group,
    examples=(
        "trainwarden silence add --for 2h run=night",
        "trainwarden silence list",
        "trainwarden silence expire 3f2a9c10",
    ),
)
def silence() -> None:
    """Send no alerts for a while. Nothing is lost: what is still wrong at the end is sent then."""


@silence.command(
    cls=Command, examples=("trainwarden silence add --for 2h --comment 'new data' run=night-* severity=warning",)
)
@click.option("--for", "time_", required=True, metavar="TIME", help="How long: 30m, 2h or 3d.")
@click.option("--comment", default="", help="Why, for others.")
@click.argument("match", nargs=-1)
def add(time_: str, comment: str, match: tuple[str, ...]) -> None:
    """Silence every alert whose labels all match; without MATCH every alert.

    MATCH is label=pattern, where * stands for any text and a|b for either. Labels: run, title, kind, family, severity,
    training, incident.
    """
    from monitor.policyfile.matchers import matcher_problem

    for line in match:
        if not re.fullmatch(r"[a-z_]{1,40}=.{1,200}", line):
            raise Failure(f"silence: {line!r} is not label=pattern; write it like run=night-*", EXIT_USAGE)
        if problem := matcher_problem(line):
            raise Failure(f"silence: {problem}", EXIT_USAGE)
    for_s = seconds_of(time_)
    with daemon_failures():
        from monitor.client.http import Client
        from monitor.daemon.api.alert_routes import SilenceLine, SilenceWanted

        with Client() as client:
            added = client.posted(PATH, SilenceLine, SilenceWanted(match, for_s, operator(), comment))
    click.echo(f"silence {added.id}: no alert that matches {_shown(added)} is sent until {_when(added.until_s)}")


@silence.command("list", cls=Command, examples=("trainwarden silence list",))
def list_() -> None:
    """List the silences, those of the last days included."""
    with daemon_failures():
        from monitor.client.http import Client
        from monitor.daemon.api.alert_routes import SilenceLine

        with Client() as client:
            found = client.get(PATH, list[SilenceLine])
    for one in found:
        state = f"until {_when(one.until_s)}" if one.active else f"ended {_when(one.until_s)}"
        click.echo(f"{one.id}  {state}  {_shown(one)}  {one.by}{f': {one.comment}' if one.comment else ''}")
    if not found:
        click.echo("No silence is set.")


@silence.command(cls=Command, examples=("trainwarden silence expire 3f2a9c10",))
@click.argument("silence_id", metavar="ID")
def expire(silence_id: str) -> None:
    """End a silence now. Alerts that waited for its end are sent."""
    from urllib.parse import quote

    with daemon_failures():
        from monitor.client.http import Client
        from monitor.daemon.api.alert_routes import SilenceLine

        with Client() as client:
            client.posted(f"{PATH}/{quote(silence_id, safe='')}/expire", SilenceLine, {})
    click.echo(f"silence {silence_id}: ended")


@click.command(cls=Command, examples=("trainwarden ack night-3f2a-i1", "trainwarden ack night-3f2a"))
@click.argument("incident")
def ack(incident: str) -> None:
    """Acknowledge INCIDENT: no reminders of it are sent, and of its other news only the severe ones and its end.

    INCIDENT is the run's name, -i and the incident's number; the run's name alone means its newest incident.
    """
    from urllib.parse import quote

    with daemon_failures():
        from monitor.client.http import Client
        from monitor.daemon.api.alert_routes import Acknowledgement

        with Client() as client:
            incident = _newest_of(client, incident)
            client.post(f"/api/v1/incidents/{quote(incident, safe='')}/acknowledge", Acknowledgement(operator()))
    click.echo(f"{incident}: acknowledged")


def _newest_of(client: Client, name: str) -> str:
    """The id of the run's newest incident; where no run has this name, the name itself. Raises Failure: it has none."""
    from monitor.client.http import run_path
    from monitor.daemon.api.snapshots import IncidentSummary, RunSummary

    if all(run.run != name for run in client.get("/api/v1/runs", list[RunSummary])):
        return name
    incidents = client.get(run_path(name, "incidents"), list[IncidentSummary])
    if not incidents:
        raise Failure(f"run {name!r}: has no incident, so there is nothing to acknowledge", EXIT_USAGE)
    return max(incidents, key=lambda one: one.number).id


def seconds_of(text: str) -> float:
    """The seconds of 30m, 2h or 3d. Raises Failure for anything else, and for more than 30 days."""
    from monitor.daemon.api.alert_routes import SILENCE_S_MAX

    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if not found or int(found[1]) == 0:
        raise Failure(f"--for {text!r}: is not a time; write it like 30m, 2h or 3d", EXIT_USAGE)
    seconds = int(found[1]) * UNITS_S[found[2]]
    if seconds > SILENCE_S_MAX:
        raise Failure(f"--for {text!r}: is too long; a silence lasts 30d at most", EXIT_USAGE)
    return seconds


def _shown(one: SilenceLine) -> str:
    return " ".join(one.match) or "anything"


def _when(at_s: float) -> str:
    from monitor.core.format import minute

    return minute(at_s)
