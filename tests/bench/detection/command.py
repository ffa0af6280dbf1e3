"""`python -m tests.bench.detection`: what the detectors find, how soon, and how many false alarms they raise."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli import execute
from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure

if TYPE_CHECKING:
    from tests.bench.detection.bench import Scope
    from tests.bench.detection.report import Document
    from tests.bench.detection.rules import RuleFactory
    from tests.bench.detection.streams import Case

EXIT_MISSED = 1
PEERS = "tests.bench.peers"  # of a checkout; they are no part of the installation
POLICIES = ("default", "strict")
FAMILIES = (
    "healthy", "benign", "numerical", "optimizer", "data", "program", "memory", "throughput", "hang", "hardware",
    "checkpoint", "telemetry",
)  # fmt: skip
EXAMPLES = (
    "python -m tests.bench.detection --markdown detection.md --json detection.json",
    "python -m tests.bench.detection --hidden-seed",
    "python -m tests.bench.detection --quick --only numerical --only hang",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--quick", is_flag=True, help="A small one, for tests: the worst faults, few healthy batches.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of every random number.")
@click.option("--hidden-seed", is_flag=True, help="A seed nobody could tune to, drawn now and printed at the end.")
@click.option("--healthy-batches", type=click.IntRange(min=1), metavar="N", help="At least so many; else 360,000.")
@click.option("--repeats", type=click.IntRange(1, 100), metavar="N", help="Trainings each fault is put into; else 2.")
@click.option("--only", type=click.Choice(FAMILIES), multiple=True, help="Only this family; may be repeated.")
@click.option("--peers", metavar="MODULE", help=f"Published rules to run beside it: a module's RULES; else {PEERS}.")
@click.option("--no-peers", is_flag=True, help="Without them: several times faster.")
@click.option("--live", is_flag=True, help="With small real trainings; needs torch.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), metavar="FILE", help="Every table.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="The same for programs.")
def detect(
    *,
    quick: bool,
    seed: int,
    hidden_seed: bool,
    healthy_batches: int | None,
    repeats: int | None,
    only: tuple[str, ...],
    peers: str | None,
    no_peers: bool,
    live: bool,
    markdown_file: Path | None,
    json_file: Path | None,
) -> int:
    """Recall, delay and false alarms on streams whose truth is known, beside the rules that peers publish.

    Faults of ten families in three severities are put into simulated trainings of many kinds; healthy ones and benign
    look-alikes must stay silent. The exit code is 1 where an aim is not met.
    """
    from tests.bench.detection.bench import HEALTHY_BATCHES, QUICK_HEALTHY_BATCHES, REPEATS, Scope

    drawn = secrets.randbits(32) if hidden_seed else seed
    healthy = healthy_batches or (QUICK_HEALTHY_BATCHES if quick else HEALTHY_BATCHES)
    scope = Scope(str(drawn), healthy, repeats or (1 if quick else REPEATS), frozenset(only), quick)
    rules = () if no_peers else _rules(peers)
    missing = () if rules or no_peers else ("the peers' published rules: they need a checkout of the repository",)
    began_s = time.process_time()
    found = _run(scope, rules, _live(drawn, quick=quick) if live else iter(()), missing)
    _show(found)
    click.echo(f"seed {drawn}; {time.process_time() - began_s:.0f} s of CPU", err=True)
    _write(found, markdown_file, json_file)
    return EXIT_MISSED if any(aim.met is False for aim in found.aims) else 0


def bench(arguments: Sequence[str]) -> int:
    """The exit code of the bench with these arguments."""
    return execute(arguments, detect, "python -m tests.bench.detection")


def _run(scope: Scope, rules: Sequence[RuleFactory], live: Iterator[Case], missing: Sequence[str]) -> Document:
    from itertools import chain

    from monitor.policyfile.load import policy_from_text, preset
    from tests.bench.detection.bench import Bench, cases, faulty_batches
    from tests.bench.detection.report import document

    policies = {name: policy_from_text(preset(name), name) for name in POLICIES}
    with _progress() as progress:
        run = Bench(policies, rules, progress)
        run.run(chain(cases(scope), live))
    contenders = {contender.name: contender.source for contender in run.contenders()}
    return document(scope.seed, run.outcomes, faulty_batches(run.outcomes), contenders, [*missing, *run.errors])


def _rules(module: str | None) -> Sequence[RuleFactory]:
    """The rules of the module; none where the default module does not exist."""
    import importlib

    try:
        rules: Sequence[RuleFactory] = importlib.import_module(module or PEERS).RULES
    except ModuleNotFoundError as error:
        if module is not None:
            raise Failure(
                f"--peers {module}: can't be imported ({error}); name a module with RULES", EXIT_USAGE
            ) from error
        return ()
    except AttributeError as error:
        raise Failure(
            f"--peers {module or PEERS}: has no RULES; see tests/bench/detection/rules.py", EXIT_USAGE
        ) from error
    return rules


def _live(seed: int, *, quick: bool) -> Iterator[Case]:
    from tests.bench.detection.live import cases

    return cases(seed, quick)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Which family is played and how many batches were: a line that changes, or one for each family."""
    if not sys.stderr.isatty():
        yield _line_for_each_family()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed} batches"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("bench", total=None)
        yield lambda family, batches: shown.update(task, description=family, advance=batches)


def _line_for_each_family() -> Callable[[str, int], None]:
    seen: set[str] = set()

    def progressed(family: str, batches: int) -> None:
        if family not in seen:
            seen.add(family)
            click.echo(f"playing: {family}", err=True)

    return progressed


def _show(found: Document) -> None:
    from tests.bench.detection.report import summary

    if not sys.stdout.isatty():
        click.echo(summary(found))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(summary(found)))


def _write(found: Document, markdown_file: Path | None, json_file: Path | None) -> None:
    import msgspec

    from tests.bench.detection.report import markdown

    if markdown_file:
        _write_text(markdown_file, markdown(found))
    if json_file:
        _write_text(json_file, msgspec.json.format(msgspec.json.encode(found), indent=1).decode())


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(
            f"{path}: can't be written ({error.strerror}); name a file in a folder that is there", EXIT_USAGE
        ) from error
