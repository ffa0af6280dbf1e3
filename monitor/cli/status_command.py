"""`trainwarden status`: every run in a table, or one run in detail."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import daemon_failures
from monitor.cli.names import existing_run
from monitor.cli.show import print_table
from monitor.core.format import ago, batch_at, batches, count, duration, minute, moment, plural
from monitor.core.model import IncidentState
from monitor.core.state.status import GONE

if TYPE_CHECKING:
    from monitor.daemon.api.snapshots import FindingLine, RunDetail, RunSummary

EXAMPLES = ("trainwarden status", "trainwarden status night-3f2a", "trainwarden status --json | jq '.[].state'")

TRAINING_HEADS = ["training", "state", "epoch", "batches", "NaN batches", "incidents"]
TRAININGS_SHOWN = 50  # the last ones; --json has every one
LOST = ("/refused", "/expired")  # ends of the keys of alerts that nobody got
KEPT = {True: "kept at this pace", False: "NOT kept at this pace", None: "it is not known yet whether it is kept"}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(run: str | None, as_json: bool) -> None:
    """Show every run that the daemon knows, the newest last. With RUN, show that run in detail."""
    import msgspec

    found = _all_runs() if run is None else _one_run(run)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    elif isinstance(found, list):
        _print_runs(found)
    else:
        print_table([], [list(line) for line in found.in_short])
        click.echo()
        print_table([], [list(line) for line in detail_lines(found, time.time())])
        if rows := training_rows(found):
            click.echo()
            print_table(TRAINING_HEADS, rows)


def training_rows(found: RunDetail) -> list[list[str]]:
    """A row for each training of a run, the last TRAININGS_SHOWN; none where there is only one."""
    if len(found.trainings) < 2:
        return []
    return [
        [str(one.number), one.state, _of(one.epoch, one.epochs), str(one.batches), str(one.nonfinite),
         str(one.incidents)]
        for one in found.trainings[-TRAININGS_SHOWN:]
    ]  # fmt: skip


def _all_runs() -> list[RunSummary]:
    with daemon_failures():
        from monitor.client.http import Client
        from monitor.daemon.api.snapshots import RunSummary

        with Client() as client:
            return client.get("/api/v1/runs", list[RunSummary])


def _one_run(run: str) -> RunDetail:
    existing_run(run)
    with daemon_failures():
        from monitor.client.http import Client, run_path
        from monitor.daemon.api.snapshots import RunDetail

        with Client() as client:
            return client.get(run_path(run), RunDetail)


def _print_runs(runs: list[RunSummary]) -> None:
    if not runs:
        click.echo("There are no runs. Start one: trainwarden run -- python train.py")
        return
    now_s = time.time()
    rows = [
        [run.run, run.state, _of(run.epoch, run.epochs), _of(run.batch, run.batches_per_epoch), str(run.nonfinite),
         _incident(run), _findings(run), ago(run.last_batch_s, now_s), run.title]
        for run in runs
    ]  # fmt: skip
    print_table(["run", "state", "epoch", "batch", "NaN", "incident", "findings", "last batch", "title"], rows)


def _of(at: int | None, total: int | None) -> str:
    return "-" if at is None else f"{at}/{total}" if total else str(at)


def _incident(run: RunSummary) -> str:
    return f"{run.incident.number}: {run.incident.state}" if run.incident else "-"


def _findings(run: RunSummary) -> str:
    return ", ".join(dict.fromkeys(found.detector for found in run.findings)) or "-"


def detail_lines(found: RunDetail, now_s: float) -> list[tuple[str, str]]:
    """The details of one run, as names and texts; `now_s` is Unix time."""
    run = found.summary
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(found.checkpoints.items()))
    return [
        ("run", f"{run.run}  {run.title}".rstrip()),
        ("state", f"{run.state}{': ' + found.detail if found.detail else ''}"),
        ("mode", _mode(run)),
        ("epoch", f"{_of(run.epoch, run.epochs)}, batch {_of(run.batch, run.batches_per_epoch)}"),
        ("generation", str(run.generation)),
        ("last batch", ago(run.last_batch_s, now_s)),
        ("loss", "-" if found.loss is None else f"{found.loss:.4g}"),
        ("non-finite", f"{count(run.nonfinite)} of {batches(run.batches)}, {plural(run.skipped, 'step')} skipped"),
        ("scaler overflows", f"{found.scaler_overflows} (a few are normal)"),
        ("incident", _incident_line(found)),
        *_finding_lines(run),
        ("rollbacks", f"{found.rollbacks} of {found.rollback_budget}"),
        ("checkpoints", verdicts or "none yet"),
        ("pace", "-" if found.pace_s is None else f"{found.pace_s:.3g} s a batch"),
        ("ends", moment(found.eta_s, now_s)),
        ("deadline", _deadline(found, now_s)),
        ("alerts", _alerts(found)),
        ("folder", found.save_dir or "-"),
        ("metrics", f"http://127.0.0.1:{found.port}/metrics"),
    ]


def _alerts(found: RunDetail) -> str:
    """How many were taken, wait, or were refused; with the command that shows why."""
    settled: Counter[str] = Counter()
    for key, number in found.alerts.items():
        settled[key.rpartition("/")[2]] += number
    shown = settled + Counter({"waiting": found.alerts_waiting})
    counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(shown.items()))
    lost = sorted({key.rpartition("/")[0] for key in found.alerts if key.endswith(LOST)})
    why = f"; not taken by {', '.join(lost)}: try trainwarden alerts test {lost[0]}" if lost else ""
    slow = "; daemon.log says why they wait" if found.alerts_waiting and not lost else ""
    return f"{counts}{why}{slow}" if counts else "none"


def _mode(run: RunSummary) -> str:
    if not run.act:
        return "only observes"
    if run.supervised or not run.live or run.state == GONE or not run.generation:
        return "acts as its policy says"
    return f"cannot act: its supervisor has died. Take the run over: trainwarden run --adopt {run.run}"


def _incident_line(found: RunDetail) -> str:
    live = found.summary.incident
    if live is None:
        return f"none open, {found.incidents} in all" if found.incidents else "none"
    watched = live.state == IncidentState.WATCHING and live.watch_needed
    proof = f", {count(live.watch_seen)} of {plural(live.watch_needed, 'healthy batch')}" if watched else ""
    where = f"it began at {batch_at(live.onset_epoch, live.onset_batch)}"
    seen = f", acknowledged by {live.acknowledged_by}" if live.acknowledged_by else ""
    return f"{live.number}: {live.state}{proof}, {where}{seen}; trainwarden report {found.summary.run}"


def _finding_lines(run: RunSummary) -> list[tuple[str, str]]:
    """What the detectors report now, a line each."""
    if not run.findings:
        return [("findings", "none now")]
    findings = [f"{f.severity}: {f.summary} ({_since(f)})" for f in run.findings]
    return [("findings" if place == 0 else "", line) for place, line in enumerate(findings)]


def _since(found: FindingLine) -> str:
    return f"{found.detector}, since {batch_at(found.since_epoch, found.since_batch)}"


def _deadline(found: RunDetail, now_s: float) -> str:
    if found.deadline_s is None:
        return "none"
    ended_s = found.summary.ended_s
    if ended_s is not None:  # the summary above says whether it was kept
        return f"{minute(found.deadline_s)}; the run ended on {minute(ended_s)}"
    kept = KEPT[found.deadline_kept]
    late = ""
    if found.deadline_kept is False and found.eta_s is not None:
        late = f", {duration(found.eta_s - found.deadline_s)} too late"
    return f"{moment(found.deadline_s, now_s)}: {kept}{late}"
