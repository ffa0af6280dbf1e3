"""Charts: what is drawn where, what a gap is, and that the words beside a drawing say the same."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, fromstring

import pytest

from monitor.core.model.curves import Curves, Point
from monitor.report import axes, plots
from monitor.report.chart import Chart, Figure, chart_of, line_of
from monitor.report.chart_annotations import marks, places
from monitor.report.report_input import ReportInput
from monitor.report.svg import HEIGHT, LEFT, RIGHT, WIDTH, described, svg
from tests.harness.report_inputs import curves, gone_back, report_input_of, rolled_back
from tests.harness.simulation import Simulation, supervised


def points(*values: float, first: int = 1, generation: int = 1) -> list[Point]:
    return [Point(generation, first + i, first + i, 1, v, v, v) for i, v in enumerate(values)]


def chart(*values: float, log: bool | None = None) -> Chart:
    across = Chart("", [], "batches", 0.0, float(len(values)))
    found = chart_of("Loss", [line_of("loss", points(*values), {1: 0.0})], across, log=log)
    assert found is not None
    return found


def drawn(one: Chart) -> Element:
    return fromstring(svg(one, "k"))


def of_class(root: Element, name: str) -> list[Element]:
    return [element for element in root.iter() if name in element.get("class", "").split()]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 0.31), (-5, 7), (0, 41_163), (1e-9, 3e-9), (1e100, 2e100)])
def test_ticks_are_few_round_and_within_the_axis(low: float, high: float) -> None:
    ticks = axes.linear_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-12 <= tick <= high * (1 + 1e-9) for tick in ticks)


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (0.2, 70), (1e-6, 1e6), (1e-140, 1e140)])
def test_a_logarithmic_axis_has_few_ticks_over_any_range(low: float, high: float) -> None:
    assert 1 <= len(axes.log_ticks(low, high)) <= 10


def test_an_axis_of_one_value_has_one_tick() -> None:
    assert axes.linear_ticks(3.0, 3.0) == [3.0]


def test_values_that_differ_fifty_times_are_drawn_on_a_logarithmic_axis() -> None:
    assert chart(1.0, 2.0, 100.0).log
    assert not chart(1.0, 2.0, 3.0).log
    assert not chart(-1.0, 2.0, 100.0).log, "a logarithm has no place for them"
    assert "logarithmic" in svg(chart(1.0, 100.0), "k")


def test_a_gap_and_a_new_generation_begin_a_new_piece() -> None:
    line = line_of("loss", [*points(1, 2), *points(3, 4, first=9), *points(5, generation=2)], {1: 0.0, 2: 10.0})
    assert [[dot.mean for dot in piece] for piece in line.pieces] == [[1, 2], [3, 4], [5]]
    assert line.pieces[2][0].x == 11.0


def test_a_single_batch_is_a_dot_and_a_stretch_has_a_band() -> None:
    across = Chart("", [], "batches", 0.0, 40.0)
    stretch = [Point(1, 1, 8, 8, 1.0, 2.0, 3.0), Point(1, 9, 16, 8, 1.5, 2.0, 9.0), Point(2, 1, 8, 8, 2.0, 2.0, 2.0)]
    one = chart_of("Loss", [line_of("loss", stretch, {1: 0.0, 2: 24.0})], across)
    assert one is not None
    root = drawn(one)
    assert (len(of_class(root, "band")), len(of_class(root, "line")), len(of_class(root, "dot"))) == (1, 1, 1)


def test_everything_lies_within_the_drawing() -> None:
    root = drawn(chart(*[math.sin(i) * 10**i for i in range(1, 30)]))
    for step in of_class(root, "line")[0].get("points", "").split():
        x, y = map(float, step.split(","))
        assert LEFT <= x <= WIDTH - RIGHT
        assert 0 <= y <= HEIGHT


@pytest.mark.parametrize("value", [0.0, 1e300, -1e300, 5e-324, 1e-320])
def test_extreme_values_are_drawn_too(value: float) -> None:
    assert "NaN" not in svg(chart(value, value), "k")
    assert "nan" not in svg(chart(value, 1.0, -value), "k")


def test_bad_batches_are_marks_that_say_how_many_and_the_description_counts_them() -> None:
    simulation = rolled_back()
    figure = plots.whole(report_input_of(simulation))
    assert figure is not None
    loss = figure.charts[0]
    bad = of_class(drawn(loss), "bad")
    assert len(bad) == len(loss.bad) > 5
    assert bad[0].findtext("title") == "1 non-finite batch"
    assert f"{len(bad)} non-finite batches" in described(loss)


def test_a_run_whose_batches_all_were_bad_still_shows_them() -> None:
    simulation = supervised(epochs=1, batches_per_epoch=30, fault=lambda at: True, cured=True, act=False)
    simulation.train()
    only_bad = Curves(1, {"nonfinite": [Point(1, i, i, 1, 1.0, 1.0, 1.0) for i in range(1, 31)]})
    figure = plots.whole(ReportInput(simulation.run, simulation.now_s, only_bad))
    assert figure is not None
    assert [one.title for one in figure.charts] == ["Loss"]
    assert len(of_class(drawn(figure.charts[0]), "bad")) == 30
    assert "no finite value" in described(figure.charts[0])


def test_marks_lie_where_the_generations_lie() -> None:
    simulation = rolled_back()
    where, found = places(simulation.run.training), {mark.label: mark for mark in marks(simulation.run.training)}
    incident = simulation.run.training.ledger.incidents[0]
    assert where == {1: 0.0, 2: float(3 * 120 + 36)}, "it left after batch 35 of epoch 4"
    assert found["onset 1"].x == incident.onset.count
    assert found["order 1"].kind == "order"
    assert found["back to epoch 3"].x == where[2]
    assert found["onset 1"].x <= found["opened 1"].x <= found["order 1"].x <= found["back to epoch 3"].x
    assert sum(mark.kind == "epoch" for mark in found.values()) >= 7


def test_a_return_within_the_process_is_marked_where_its_batches_begin() -> None:
    simulation = gone_back()
    training = simulation.run.training
    (back,) = [mark for mark in marks(training) if mark.kind == "rollback"]
    assert (back.label, back.more) == ("back to epoch 2, batch 60", "in the process of generation 1")
    assert back.x == simulation.counts[0].batches - 1 > 180, "before the first batch after it"
    training.ledger.incidents[0].action.plan = None  # a later action has taken its place
    assert back.x in [mark.x for mark in marks(training) if mark.label == "back into epoch 2"]


def test_very_many_epochs_get_few_lines() -> None:
    simulation = supervised(epochs=300, batches_per_epoch=2)
    simulation.train()
    assert 20 <= sum(mark.kind == "epoch" for mark in marks(simulation.run.training)) <= 40


def test_the_onset_is_the_zero_of_the_curves_around_it() -> None:
    simulation = rolled_back()
    figure = plots.around(report_input_of(simulation), simulation.run.training.ledger.incidents[0])
    assert figure is not None
    (onset,) = [mark for mark in figure.charts[0].marks if mark.kind == "onset"]
    assert onset.x == 0.0
    assert (figure.charts[0].first, figure.charts[0].last) == (-200.0, 400.0)


def test_the_panels_are_those_that_were_recorded() -> None:
    titles = [one.title for one in _whole(rolled_back()).charts]
    expected = [
        "Loss",
        "Parts of the loss",
        "Gradient norm before clipping",
        "GPU memory",
        "Learning rate",
        "Time per batch",
    ]
    assert titles == expected
    simulation = rolled_back()
    few = Curves(1, {"loss": curves({1: 50}).signals["loss"]})
    figure = plots.whole(ReportInput(simulation.run, simulation.now_s, few))
    assert figure is not None
    assert [one.title for one in figure.charts] == ["Loss"]


def test_a_line_for_each_parameter_group_and_part_by_its_name() -> None:
    names = {one.title: [line.name for line in one.lines] for one in _whole(rolled_back()).charts}
    assert names["Learning rate"] == ["weight", "bn", "bias"]
    assert names["Parts of the loss"] == ["box", "cls", "dfl"]


def test_nothing_recorded_is_no_figure() -> None:
    simulation = rolled_back()
    empty = ReportInput(simulation.run, simulation.now_s)
    assert plots.whole(empty) is None
    assert plots.around(empty, simulation.run.training.ledger.incidents[0]) is None


def _whole(simulation: Simulation) -> Figure:
    figure = plots.whole(report_input_of(simulation))
    assert figure is not None
    return figure
