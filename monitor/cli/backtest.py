"""`trainwarden backtest`: recorded runs through the core. Reads files; everything else is monitor.backtest."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure, nearest

if TYPE_CHECKING:
    from monitor.backtest import Result, Totals
    from monitor.importers.rows import Role
    from monitor.policy.settings import Policy

EXIT_FIRED = 1
EXIT_UNREADABLE = 2
SUFFIXES = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".txt", ".out", ".err"}
)  # looked at in folders
EXAMPLES = (
    "trainwarden backtest runs/detect/train/results.csv",
    "trainwarden backtest --policy strict --json logs/ > backtest.json",
    "trainwarden backtest --map loss=nll --map step=it --fail-on warning 'logs/**/*.csv'",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--policy", "policy_name", default="default", metavar="FILE|PRESET", help="The policy; else the default one."
)
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
@click.option(
    "--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write a JUnit report: a case for each log."
)
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "critical", "never"]),
    default="critical",
    show_default=True,
    help="Exit with 1 where something of this severity would have fired.",
)
@click.option("--map", "maps", multiple=True, metavar="ROLE=COLUMN", help="What a column means: loss=nll, step=it, ...")
def backtest(
    paths: tuple[str, ...], policy_name: str, as_json: bool, junit: Path | None, fail_on: str, maps: tuple[str, ...]
) -> int:
    """Run recorded logs through the detectors and the policy, as if they were live.

    Reads Ultralytics, Hugging Face, Lightning, Keras, OpenMMLab, Detectron2, W&B and TensorBoard logs, CSV, JSON lines
    and printed text; folders are searched. Exit code 0: nothing fired. 1: something did. 2: a file could not be read.
    """
    from monitor.cli.backtest_output import json_text, junit_text, result_lines, totals_lines
    from monitor.cli.policy import read_policy

    _, policy = read_policy(policy_name)
    mapping = _mapping(maps)
    results, errors = _all(_expanded(paths), policy, mapping)
    summary = _totals(results)
    if as_json:
        click.echo(json_text(results, errors, summary))
    else:
        for result in results:
            click.echo("\n".join(result_lines(result)))
        click.echo("\n".join(totals_lines(summary, errors)))
    for error in errors:
        click.echo(f"trainwarden: {error}", err=True)
    if junit:
        _write(junit, junit_text(results, errors, fail_on))
    return _exit_code(summary, errors, fail_on)


def _totals(results: list[Result]) -> Totals:
    from monitor.backtest import totals

    return totals(results)


def _mapping(maps: Iterable[str]) -> dict[str, Role]:
    """Column name to role, of `--map role=column`."""
    from monitor.importers.rows import Role

    known = {"grad": Role.GRAD_NORM, "learning_rate": Role.RATE, **{str(role): role for role in Role}}
    mapping = {}
    for pair in maps:
        role, equals, column = pair.partition("=")
        if not equals or not column or role not in known:
            hint = nearest(role, known) or f"; the roles are {', '.join(known)}"
            raise Failure(f"--map {pair}: write ROLE=COLUMN{hint}", EXIT_USAGE)
        mapping[column] = known[role]
    return mapping


def _expanded(paths: Iterable[str]) -> list[tuple[Path, bool]]:
    """Every file that is meant, and whether it was named (True) or found in a folder (False)."""
    found: dict[Path, bool] = {}
    for path in paths:
        named = Path(path)
        if named.is_dir():
            found.update(
                (file, False) for file in sorted(named.rglob("*")) if _may_be_a_log(file) and file not in found
            )
        elif named.exists() or not glob.has_magic(path):
            found[named] = True
        else:
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute patterns, which pathlib refuses
            if not matches:
                raise Failure(f"{path}: no file matches", EXIT_USAGE)
            found.update((Path(match), False) for match in matches if Path(match).is_file())
    return list(found.items())


def _may_be_a_log(file: Path) -> bool:
    return file.is_file() and (file.suffix.lower() in SUFFIXES or "tfevents" in file.name)


def _all(files: list[tuple[Path, bool]], policy: Policy, mapping: dict[str, Role]) -> tuple[list[Result], list[str]]:
    """Every file's result, and a sentence for each that could not be read."""
    from monitor.importers.rows import NotALog, UnreadableLog

    results: list[Result] = []
    errors: list[str] = []
    for file, named in _with_progress(files):
        try:
            results.append(_one(file, policy, mapping))
        except NotALog as error:
            if named:
                errors.append(str(error))
        except UnreadableLog as error:
            errors.append(str(error))
        except OSError as error:
            errors.append(f"{file}: can't be read ({error.strerror}); check the path")
    return results, errors


def _one(file: Path, policy: Policy, mapping: dict[str, Role]) -> Result:
    from monitor.backtest import backtest as replayed
    from monitor.importers import LOG_BYTES_MAX, read_log

    with file.open("rb") as opened:
        data = opened.read(LOG_BYTES_MAX + 1)
    return replayed(read_log(data, str(file), mapping or None), policy)


def _with_progress(files: list[tuple[Path, bool]]) -> Iterator[tuple[Path, bool]]:
    """The files, with a bar on stderr where that is a terminal."""
    if len(files) < 2 or not sys.stderr.isatty():
        yield from files
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(files, "backtest", console=Console(stderr=True), transient=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(
            f"{path}: can't be written ({error.strerror}); name a file in a folder that is there", EXIT_USAGE
        ) from error


def _exit_code(summary: Totals, errors: list[str], fail_on: str) -> int:
    fired = {"warning": summary.runs_warned, "critical": summary.runs_critical, "never": 0}[fail_on]
    return EXIT_FIRED if fired else EXIT_UNREADABLE if errors and fail_on != "never" else 0
