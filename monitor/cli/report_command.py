"""`trainwarden report`: of a run, of one of its incidents, or of two runs; as Markdown or as one page."""

from __future__ import annotations

import http
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure, daemon_failures
from monitor.cli.names import existing_run
from trainer_hooks.wire.runfolder import RunFolder

if TYPE_CHECKING:
    from monitor.report.whole import Block

EXIT_WRITING = 74  # EX_IOERR
UNKNOWN = "neither the daemon nor the history has this run any more"
PAGE_NAMES = (".html", ".htm")
EXAMPLES = (
    "trainwarden report night-3f2a",
    "trainwarden report night-3f2a --incident 2",
    "trainwarden report night-3f2a -o night.html       one page with curves; it opens without a network",
    "trainwarden report --compare night-3f2a day-77b0 -o both.html",
)
Runs = tuple[str, str]


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("run", required=False)
@click.option("--training", type=click.IntRange(min=1), metavar="N", help="Report on this training of the run.")
@click.option("--incident", type=click.IntRange(min=1), metavar="N", help="Report only this incident.")
@click.option("--compare", nargs=2, metavar="RUN_A RUN_B", help="Compare two runs.")
@click.option("--html", "as_page", is_flag=True, help="Write one HTML page with curves instead of Markdown.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to this file. A name that ends in .html means --html.",
)
def report(
    run: str | None,
    incident: int | None,
    training: int | None,
    compare: Runs | None,
    as_page: bool,
    output: Path | None,
) -> None:
    """Report what happened in RUN, why, what was done and what it cost. The first eight lines answer this in short."""
    if (run is None) == (compare is None):
        raise click.UsageError("name one RUN, or two runs with --compare RUN_A RUN_B")
    if incident is not None and compare:
        raise click.UsageError("--incident is for one RUN, not for --compare")
    as_page = as_page or (output is not None and output.suffix.lower() in PAGE_NAMES)
    if compare:
        title, blocks = f"{compare[0]} and {compare[1]}", _comparison(*compare)
    else:
        assert run is not None
        title, blocks = run, _of_run(run, training or 0) if incident is None else _of_incident(run, incident)
    _give(_written(title, blocks, as_page), output)


def _written(title: str, blocks: list[Block], as_page: bool) -> str:
    from monitor.report.page import page
    from monitor.report.whole import markdown

    return page(f"trainwarden: {title}", blocks) if as_page else markdown(blocks)


def _give(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{output}: can't be written ({error.strerror}); choose another file", EXIT_WRITING) from error
    click.echo(f"{output}: {len(text.encode()) / 1000:,.0f} kB")


def _of_run(run: str, training: int) -> list[Block]:
    from monitor.cli.run_sources import report_input_of
    from monitor.report.whole import blocks

    folder = existing_run(run)
    report_input = report_input_of(run, training)
    return blocks(report_input) if report_input else _from_folder(folder, run)


def _comparison(first: str, second: str) -> list[Block]:
    from monitor.cli.run_sources import report_input_of
    from monitor.report.compare import blocks

    found = []
    for run in (first, second):
        existing_run(run)
        report_input = report_input_of(run)
        if report_input is None:
            raise Failure(f"run {run}: {UNKNOWN}, and its folder holds no state to compare", EXIT_USAGE)
        found.append(report_input)
    return blocks(*found)


def _of_incident(run: str, number: int) -> list[Block]:
    from monitor.report.whole import Block

    folder = existing_run(run)
    return [Block(_incident_from_daemon(run, number) or _incident_from_folder(folder, run, number))]


def _incident_from_daemon(run: str, number: int) -> str:
    """The report as it is now; empty where no daemon answers, or it knows of no such incident."""
    from monitor.client.http import Client, DeclinedError, UnreachableError, run_path

    with daemon_failures():
        try:
            with Client() as client:
                return client.text(run_path(run, "report"), incident=number).rstrip()
        except UnreachableError:
            return ""
        except DeclinedError as error:
            if error.status != http.HTTPStatus.NOT_FOUND:
                raise
            return ""


def _numbers(folder: RunFolder) -> list[int]:
    return sorted(int(path.stem) for path in folder.reports.glob("*.md") if path.stem.isdigit())


def _incident_from_folder(folder: RunFolder, run: str, number: int) -> str:
    """The report as the daemon last wrote it. Raises Failure, naming those that exist, where there is none."""
    numbers = _numbers(folder)
    if not numbers:
        raise Failure(
            f"run {run}: this run has no incident; leave --incident out to get the report of the run", EXIT_USAGE
        )
    if number not in numbers:
        known = ", ".join(map(str, numbers))
        raise Failure(f"run {run}: there is no report of incident {number}; there are reports of {known}", EXIT_USAGE)
    return (folder.reports / f"{number}.md").read_text(encoding="utf-8").rstrip()


def _from_folder(folder: RunFolder, run: str) -> list[Block]:
    """What is left of a run that neither a daemon nor the history knows: its incidents as they were last written."""
    from monitor.report.whole import Block

    numbers = _numbers(folder)
    if not numbers:
        raise Failure(f"run {run}: {UNKNOWN}, and it has no incident", EXIT_USAGE)
    text = "The history does not hold this run any more. These are its incidents, as they were last written."
    head = f"# Run {run}\n\n{text}"
    return [Block(head), *(Block(_incident_from_folder(folder, run, number)) for number in numbers)]
