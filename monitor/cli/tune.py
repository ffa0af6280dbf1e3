"""`trainwarden tune`: thresholds that do best on your own labelled runs, and what they are worth on runs held out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure
from monitor.cli.writing import write

if TYPE_CHECKING:
    from monitor.core.policy.settings import Policy
    from monitor.recorded.backtest import Unread
    from monitor.recorded.backtest.labelled_runs import Label
    from monitor.recorded.tuning.counts import RunAlarms
    from monitor.recorded.tuning.search_space import Parameter

DETECTORS = ("loss_spike", "gradient_explosion", "divergence")  # those whose thresholds are a matter of taste
EXAMPLES = (
    "trainwarden tune --labels labels.csv --output policy.yaml",
    "trainwarden tune --labels labels.csv --detector loss_spike --picture curve.svg 'logs/**/*.csv'",
    "trainwarden tune --labels labels.csv --try loss_spike.spreads=6,8,10,14 --healthy-alerted 0.02",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option(
    "--labels",
    required=True,
    metavar="FILE",
    help="A CSV with the columns path and label, and if known onset and group (or repo).",
)
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="NAME",
    help="Search over every numeric setting of this detector.",
)
@click.option(
    "--try",
    "tries",
    multiple=True,
    metavar="DETECTOR.SETTING=V,V",
    help="Search over this setting, with these values.",
)
@click.option(
    "--policy", "policy_name", default="default", metavar="FILE|PRESET", help="The policy the search begins with."
)
@click.option(
    "--healthy-alerted",
    "--healthy-told",
    "healthy_warned",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="The largest share of healthy runs that may have an alert.",
)
@click.option(
    "--healthy-acted",
    "healthy_critical",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="The largest share of healthy runs that may have an action.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 100),
    default=5,
    show_default=True,
    help="Number of parts. Each is held out once.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random split into parts.")
@click.option(
    "--points",
    type=click.IntRange(2, 10_000),
    default=60,
    show_default=True,
    help="The largest number of policies to try.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, os.cpu_count() or 1),
    default=1,
    help="Number of processes. The default is one.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the chosen policy to this YAML file."
)
@click.option(
    "--picture", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw the trade-off into this SVG file."
)
def tune(
    paths: tuple[str, ...], labels: str, detectors: tuple[str, ...], tries: tuple[str, ...], policy_name: str,
    healthy_warned: float, healthy_critical: float, folds: int, seed: int, points: int, jobs: int, output: Path | None,
    picture: Path | None,
) -> int:  # fmt: skip
    """Search for thresholds on labelled runs, and print the trade-off between bad runs found and false alarms.

    The search changes one setting after another until the result does not improve. It does so on all runs, and again
    without each part of them. The held-out numbers come from runs that were not used to choose the thresholds.
    """
    from monitor.cli.policy import read_policy
    from monitor.cli.tune_output import policy_text, tuned_lines
    from monitor.recorded.tuning.counts import Aim
    from monitor.recorded.tuning.picture import svg_picture
    from monitor.recorded.tuning.search import tune as search

    _, policy = read_policy(policy_name)
    parameters = _parameters(policy, detectors, tries)
    known = _labelled(paths, labels)
    runs = _Runs(policy, parameters, known, jobs, points)
    runs.begin()
    aim = Aim(healthy_warned, healthy_critical)
    tuned = search(parameters, runs.labels, runs.evaluate, aim, folds=folds, seed=seed, points_max=points)
    click.echo("\n".join([*tuned_lines(tuned, aim), *(f"not used: {error.text}" for error in runs.errors)]))
    if output:
        write(output, policy_text(tuned, policy))
    if picture:
        write(picture, svg_picture(tuned))
    return 0


def _parameters(policy: Policy, detectors: Sequence[str], tries: Sequence[str]) -> list[Parameter]:
    from monitor.recorded.tuning.search_space import SearchSpaceError, parameter, parameters_of

    try:
        given = [parameter(policy, *_tried(text)) for text in tries]
        named = detectors or (() if given else DETECTORS)
        known = {one.name for one in given}
        return given + [one for one in parameters_of(policy, named) if one.name not in known]
    except SearchSpaceError as error:
        raise Failure(str(error), EXIT_USAGE) from error


def _tried(text: str) -> tuple[str, str, list[float]]:
    """Detector, setting and values of a --try."""
    name, _, values = text.partition("=")
    detector, _, setting = name.partition(".")
    try:
        return detector, setting, [float(value) for value in values.split(",")]
    except ValueError:
        raise Failure(
            f"--try {text}: write DETECTOR.SETTING=VALUE,VALUE, as loss_spike.spreads=6,8", EXIT_USAGE
        ) from None


def _labelled(paths: tuple[str, ...], labels: str) -> dict[str, Label]:
    """The label of each file there is to be judged."""
    from monitor.cli.backtest_files import expanded
    from monitor.cli.label_file import labels_by_path

    files = [str(file.path) for file in expanded(paths)] if paths else None
    known = {path: label for path, label in labels_by_path(Path(labels), files).items() if label.label != "unknown"}
    if not any(label.bad for label in known.values()) or not any(one.label == "healthy" for one in known.values()):
        raise Failure(f"{labels}: the search needs healthy and bad runs. Label some of each", EXIT_USAGE)
    return known


class _Runs:
    """Judges all runs at a point. What the detectors that the search does not change find is computed once."""

    def __init__(
        self, policy: Policy, parameters: Sequence[Parameter], known: dict[str, Label], jobs: int, points: int
    ) -> None:
        self.policy, self.parameters, self.labels, self.jobs, self.points = policy, parameters, known, jobs, points
        self.others: dict[str, RunAlarms] = {}
        self.errors: list[Unread] = []
        self.tried = 0

    def begin(self) -> None:
        """Find out what the others say, and leave out what can't be read."""
        from monitor.recorded.tuning.search_space import only

        self.others = self._seen(
            only(self.policy, self._searched(), on=False), "detectors that the search does not change"
        )
        self.labels = {path: label for path, label in self.labels.items() if path in self.others}

    def evaluate(self, point: tuple[float, ...]) -> dict[str, RunAlarms]:
        """What every run comes to at the point."""
        from monitor.recorded.tuning.search_space import only, turned

        self.tried += 1
        policy = only(turned(self.policy, self.parameters, point), self._searched(), on=True)
        seen = self._seen(policy, f"point {self.tried} of at most {self.points}")
        return {path: one | self.others[path] for path, one in seen.items()}

    def _searched(self) -> set[str]:
        return {parameter.detector for parameter in self.parameters}

    def _seen(self, policy: Policy, what: str) -> dict[str, RunAlarms]:
        from monitor.cli.backtest_files import File, How, outcomes
        from monitor.recorded.tuning.counts import seen_of

        if not sys.stderr.isatty():  # where there is no bar
            click.echo(f"trainwarden: {what}", err=True)
        seen: dict[str, RunAlarms] = {}
        files = [File(Path(path), named=True) for path in self.labels]
        for found in outcomes(files, How(policy.model_dump_json()), self.jobs, what):
            self.errors.extend(found.errors)
            seen |= {
                result.path: seen_of(self.labels[result.path], result)
                for result in found.results
                if result.path in self.labels
            }
        return seen
