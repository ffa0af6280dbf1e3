"""`trainwarden backtest`: recorded runs through the core, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure, nearest
from monitor.cli.writing import write

if TYPE_CHECKING:
    from monitor.cli.backtest_files import File
    from monitor.recorded.backtest import Result, Unread
    from monitor.recorded.backtest.labelled_runs import Label
    from monitor.recorded.importers.imported_run import Role

EXIT_FIRED = 1
EXIT_UNREADABLE = 2
EXAMPLES = (
    "trainwarden backtest runs/detect/train/results.csv",
    "trainwarden backtest --policy strict --json logs/ > backtest.json",
    "trainwarden backtest --map loss=nll --map step=it --fail-on warning 'logs/**/*.csv'",
    "trainwarden backtest --labels labels.csv               recall, delay and false alarms of labelled logs",
    "trainwarden backtest --run night-3f2a --policy strict  a run of trainwarden under another policy",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option(
    "--policy",
    "policy_name",
    metavar="FILE|PRESET",
    help="The policy to test. Without it: the policy of the run, or the default one.",
)
@click.option(
    "--run",
    metavar="ID",
    help="A run of trainwarden, from the history of the daemon (or from the history in PATH).",
)
@click.option(
    "--labels", metavar="FILE", help="A CSV with the columns path, label and, if known, onset: how each run went."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a JUnit report with a case for each run.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "critical", "never"]),
    default="critical",
    show_default=True,
    help="Exit with 1 if a finding of this severity or worse fires. With --labels: if a result contradicts its label.",
)
@click.option(
    "--map", "maps", multiple=True, metavar="ROLE=COLUMN", help="The meaning of a column: loss=nll, step=it, ..."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, os.cpu_count() or 1),
    default=1,
    help="Number of processes. The default is one.",
)
def backtest(
    paths: tuple[str, ...], policy_name: str | None, run: str | None, labels: str | None, as_json: bool,
    junit: Path | None, fail_on: str, maps: tuple[str, ...], jobs: int,
) -> int:  # fmt: skip
    """Test a policy on recorded runs, as if they were live.

    Reads the history of a daemon, recorded streams, logs of Ultralytics, Hugging Face, Lightning, Keras, XGBoost and
    some thirty others, W&B, MLflow and TensorBoard, tables, JSON lines and printed text (docs/backtest.md lists them).
    In a folder it reads every log. Exit code 0: nothing fired. 1: something fired. 2: a file could not be read.
    """
    from monitor.cli.backtest_files import How, outcomes, without_logs
    from monitor.cli.backtest_output import Report, junit_text
    from monitor.cli.policy import read_policy

    mapping = _mapping(maps)
    files, known = _files(paths, run, labels)
    policy = read_policy(policy_name)[1].model_dump_json() if policy_name else None
    found = list(outcomes(files, How(policy, mapping, run), jobs))
    results = [result for outcome in found for result in outcome.results]
    errors = [error for outcome in found for error in outcome.errors] + without_logs(files, found)
    report = Report(results, errors, known, fail_on)
    click.echo(report.json_text() if as_json else "\n".join(report.lines()))
    for error in report.errors:
        click.echo(f"trainwarden: {error.text}", err=True)
    if junit:
        write(junit, junit_text(report))
    return _exit_code(report.failed, report.errors, fail_on)


def _files(paths: tuple[str, ...], run: str | None, labels: str | None) -> tuple[list[File], dict[str, Label] | None]:
    """What is to be read, and the label of each path; None: there are no labels."""
    from monitor.cli.backtest_files import File, expanded
    from monitor.cli.label_file import labels_by_path
    from monitor.history.recall import FILE_NAME
    from trainer_hooks.wire.runfolder import state_home

    if not paths and run is None and labels is None:
        raise Failure(
            "backtest: there is nothing to read. Name files or folders, --run ID or --labels FILE", EXIT_USAGE
        )
    if run is not None and not paths:
        paths = (str(state_home() / FILE_NAME),)
    files = expanded(paths)
    if not files and paths:
        raise Failure(f"{', '.join(paths)}: no file in it has the name of a log; name the file itself", EXIT_USAGE)
    if labels is None:
        return files, None
    known = labels_by_path(Path(labels), [str(file.path) for file in files] if paths else None)
    return files if paths else [File(Path(path), named=True) for path in known], known


def _mapping(maps: Iterable[str]) -> dict[str, Role]:
    """Column name to role, of `--map role=column`."""
    from monitor.recorded.importers.imported_run import Role

    known = {"grad": Role.GRAD_NORM, "learning_rate": Role.RATE, **{str(role): role for role in Role}}
    mapping: dict[str, Role] = {}
    for pair in maps:
        role, equals, column = pair.partition("=")
        if not equals or not column or role not in known:
            hint = nearest(role, known) or f"; the roles are {', '.join(known)}"
            raise Failure(f"--map {pair}: write ROLE=COLUMN{hint}", EXIT_USAGE)
        if column in mapping:
            raise Failure(f"--map {pair}: column {column!r} has a role already; give each column one", EXIT_USAGE)
        mapping[column] = known[role]
    return mapping


def _exit_code(failed: list[Result], errors: list[Unread], fail_on: str) -> int:
    return EXIT_FIRED if failed else EXIT_UNREADABLE if errors and fail_on != "never" else 0
