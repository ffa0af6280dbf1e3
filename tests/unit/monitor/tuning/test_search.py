"""The search: it finds what is there to find, keeps its bounds, and never judges a run by what it chose on it."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.tune_output import policy_text, tuned_lines
from monitor.core.policy.settings import Policy
from monitor.policyfile.load import policy_from_text
from monitor.recorded.backtest.labelled_runs import Label
from monitor.recorded.tuning.counts import Aim, Counted, RunAlarms, counted
from monitor.recorded.tuning.picture import svg_picture, text_picture
from monitor.recorded.tuning.search import Tuned, folds_of, tune
from monitor.recorded.tuning.search_space import (
    Parameter,
    Point,
    SearchSpaceError,
    only,
    parameter,
    parameters_of,
    turned,
)

AIM = Aim(healthy_warned=0.05, healthy_critical=0.01)
PARAMETERS = [
    Parameter("loss_spike", "spreads", (8.0, 4.0, 6.0, 12.0)),
    Parameter("loss_spike", "ratio", (1.25, 1.1, 1.5)),
]


def runs(healthy: int = 40, bad: int = 20, per_group: int = 4) -> dict[str, Label]:
    names = [(f"h{i}", "healthy") for i in range(healthy)] + [(f"b{i}", "spike") for i in range(bad)]
    return {name: Label(name, label, 10, f"g{i // per_group}") for i, (name, label) in enumerate(names)}


def by_spreads(labels: Mapping[str, Label], point: Point) -> dict[str, RunAlarms]:
    """The lower the limit, the more is told: bad run i from 12 - i / 2 spreads down, healthy run i from i / 8."""
    spreads = point[0]
    found = {}
    for name, label in labels.items():
        at = int(name[1:])
        told = spreads <= (12.0 - at / 2 if label.bad else 5.0 - at / 8)
        found[name] = RunAlarms(told, critical=False, delay_rows=3 if told else None)
    return found


def searched(labels: dict[str, Label], aim: Aim = AIM, points_max: int = 100, folds: int = 5) -> Tuned:
    return tune(
        PARAMETERS, labels, lambda point: by_spreads(labels, point), aim, folds=folds, seed=0, points_max=points_max
    )


def test_the_most_bad_runs_are_told_within_the_bound_on_the_healthy() -> None:
    """At 4 spreads nine healthy runs of forty are told, which is too many; at 6 none is."""
    tuned = searched(runs())
    assert tuned.chosen == (6.0, 1.25)
    assert (tuned.all_runs.bad_warned, tuned.all_runs.healthy_warned) == (13, 0)
    assert tuned.base_counted.bad_warned == 9
    loose = searched(runs(), Aim(healthy_warned=0.5, healthy_critical=0.01))
    assert (loose.chosen[0], loose.all_runs.healthy_warned) == (4.0, 9)


def test_the_curve_gives_a_point_for_each_bound() -> None:
    curve = {one.bound: one for one in searched(runs()).curve}
    assert (curve[0.0].point[0], curve[0.2].point[0]) == (6.0, 6.0)
    assert all(one.all_runs.warned_share <= bound for bound, one in curve.items())


def test_every_run_is_held_out_once_and_judged_by_a_point_that_was_chosen_without_its_group() -> None:
    """One group alone makes a low limit attractive: the search without it must not have found that limit."""
    labels = runs(healthy=40, bad=12, per_group=12)
    lonely = {name for name, label in labels.items() if label.group == labels["b0"].group and label.bad}

    def evaluate(point: Point) -> dict[str, RunAlarms]:
        return {n: RunAlarms(n in lonely and point[0] == 4.0, critical=False) for n in labels}

    tuned = tune(PARAMETERS, labels, evaluate, AIM, folds=5, seed=0, points_max=100)
    assert tuned.chosen[0] == 4.0
    assert tuned.all_runs.bad_warned == len(lonely) > 0
    assert tuned.held_out.bad_warned == 0
    assert tuned.held_out.bad + tuned.held_out.healthy == len(labels)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(2, 8), st.integers())
def test_a_group_is_never_split_and_no_run_is_lost(groups: list[int], folds: int, seed: int) -> None:
    labels = {f"r{i}": Label(f"r{i}", "healthy", None, f"g{group}") for i, group in enumerate(groups)}
    parts = folds_of(labels, folds, seed)
    assert sorted(run for part in parts for run in part) == sorted(labels)
    for group in set(groups):
        assert sum(any(labels[run].group == f"g{group}" for run in part) for part in parts) == 1


def test_no_more_points_are_tried_than_allowed_and_it_says_so() -> None:
    tuned = searched(runs(), points_max=3)
    assert (len(tuned.tried), tuned.spent) == (3, True)
    assert any("it reached its largest number of policies" in line for line in tuned_lines(tuned, AIM))


def test_plateaus_and_unknown_runs_count_for_nothing() -> None:
    labels = {"a": Label("a", "plateau"), "b": Label("b", "unknown"), "c": Label("c", "healthy")}
    seen = dict.fromkeys(labels, RunAlarms(warned=True, critical=True))
    assert counted(labels, seen, labels) == Counted(
        bad=0, bad_warned=0, healthy=1, healthy_warned=1, healthy_critical=1
    )


def test_the_knobs_of_a_detector_are_its_numbers_within_what_they_take() -> None:
    parameters = {one.setting: one for one in parameters_of(Policy(), ["nonfinite_rate"])}
    assert set(parameters) == {"rate", "window_batches", "count_min"}
    assert parameters["count_min"].values == (5, 2, 4, 7, 10, 15)
    assert all(0 < value <= 1 for value in parameters["rate"].values)


@pytest.mark.parametrize(
    ("detector", "setting", "value", "said"),
    [
        ("los_spike", "spreads", 4.0, "'los_spike': is not a detector; there are"),
        (
            "loss_spike",
            "enabled",
            1.0,
            r"loss_spike\.enabled: is not a number that can be tried; loss_spike has spreads",
        ),
        ("loss_spike", "ratio", 0.5, r"loss_spike\.ratio=0\.5: is outside what the setting takes"),
    ],
)
def test_a_knob_that_can_not_be_turned_is_named(detector: str, setting: str, value: float, said: str) -> None:
    with pytest.raises(SearchSpaceError, match=said):
        parameter(Policy(), detector, setting, [value])


def test_detectors_can_be_taken_alone_or_left_out() -> None:
    alone, rest = only(Policy(), ["loss_spike"], on=True), only(Policy(), ["loss_spike"], on=False)
    assert [n for n, s in alone.detectors if s.enabled] == ["loss_spike"]
    assert not rest.detectors.loss_spike.enabled
    assert rest.detectors.divergence.enabled


def test_the_chosen_policy_is_a_sound_policy_file_that_says_where_it_comes_from() -> None:
    tuned = searched(runs())
    text = policy_text(tuned, Policy())
    assert policy_from_text(text, "policy.yaml") == turned(Policy(), PARAMETERS, tuned.chosen)
    assert text.startswith("# Found by trainwarden tune: 40 healthy and 20 bad runs of 15 groups, 5 folds (seed 0)")
    assert "spreads: 6.0" in text


def test_the_picture_is_drawn_as_text_and_as_a_document() -> None:
    tuned = searched(runs())
    lines = text_picture(tuned)
    assert "●" in "".join(lines[:16])
    root = ElementTree.fromstring(svg_picture(tuned))
    dots = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(dots) == len(tuned.tried) + len(tuned.curve) + 2 + 4
