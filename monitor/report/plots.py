"""Which curves a report shows: the whole run, the batches around an onset, two runs over each other. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.format import count, plural
from monitor.core.model import Incident
from monitor.core.model.curves import Curves, Point
from monitor.core.state.run import TrainingState
from monitor.report import chart_annotations
from monitor.report.chart import Chart, Curve, Figure, Mark, bytes_scale, chart_of, line_of
from monitor.report.epoch_rows import group_names, part_names
from monitor.report.report_input import AFTER_ONSET, BEFORE_ONSET, ReportInput

BOTH = ("onset", "rollback")  # the marks of two runs that one chart has room for


def whole(report_input: ReportInput) -> Figure | None:
    """The curves of the whole run; None where nothing was recorded."""
    training = report_input.training
    where = chart_annotations.places(training)
    batches, marks = chart_annotations.batches(training), chart_annotations.marks(training)
    across = Chart(
        "", [], "batches since the run began", 0.0, max(float(batches), 1.0), marks=marks,
        bad=_bad(report_input.whole, where),
    )  # fmt: skip
    charts = [
        *_panels(report_input.training, report_input.whole, across, where),
        *_time(report_input.whole, across, where),
    ]
    return Figure(f"The whole run. {_resolution(report_input.whole)}", charts) if charts else None


def around(report_input: ReportInput, incident: Incident) -> Figure | None:
    """The curves around the onset of an incident; None where they are not kept any more."""
    curves, onset = report_input.onsets.get(incident.number, Curves()), incident.onset
    where = {onset.generation: -float(onset.count)}
    zero = chart_annotations.places(report_input.training).get(onset.generation, 0.0) + onset.count
    near = [
        msgspec.structs.replace(mark, x=mark.x - zero)
        for mark in chart_annotations.marks(report_input.training)
        if -BEFORE_ONSET <= mark.x - zero <= AFTER_ONSET
    ]
    across = Chart(
        "", [], "batches after the first bad one", -float(BEFORE_ONSET), float(AFTER_ONSET), marks=near,
        bad=_bad(curves, where),
    )  # fmt: skip
    charts = _panels(report_input.training, curves, across, where)
    at = f"epoch {onset.epoch}, batch {count(onset.batch)}"
    return (
        Figure(f"Around the onset of incident {incident.number}, {at}. {_resolution(curves)}", charts)
        if charts
        else None
    )


def over_each_other(a: ReportInput, b: ReportInput, names: tuple[str, str]) -> Figure | None:
    """The curves of two runs in the same charts; None where nothing was recorded of either."""
    last = max(chart_annotations.batches(a.training), chart_annotations.batches(b.training), 1)
    shown = [
        Mark(mark.x, mark.kind, f"{name}: {mark.label}", mark.more)
        for report_input, name in zip((a, b), "AB", strict=True)
        for mark in chart_annotations.marks(report_input.training)
        if mark.kind in BOTH
    ]
    across = Chart("", [], "batches since the run began", 0.0, float(last), marks=shown)
    panels = (
        ("loss", "Loss", "", None),
        ("grad_norm", "Gradient norm", "", True),
        ("reserved", "GPU memory reserved", "GiB", False),
        ("learning_rate", "Learning rate, first group", "", None),
        ("batch_s", "Time per batch", "s", None),
    )
    charts = [chart_of(title, _of_both(signal, a, b, names), across, unit, log) for signal, title, unit, log in panels]
    found = [chart for chart in charts if chart is not None]
    return Figure(f"A is {names[0]}, B is {names[1]}.", found) if found else None


def _of_both(signal: str, a: ReportInput, b: ReportInput, names: tuple[str, str]) -> list[Curve]:
    scale = bytes_scale() if signal == "reserved" else 1.0
    return [
        line_of(
            f"{letter}: {name}",
            report_input.whole.signals.get(signal, []),
            chart_annotations.places(report_input.training),
            scale,
        )
        for report_input, letter, name in zip((a, b), "AB", names, strict=True)
    ]


def _panels(training: TrainingState, curves: Curves, across: Chart, where: dict[int, float]) -> list[Chart]:
    """Loss, its parts, gradient norm, memory and learning rates, as far as they were recorded."""
    calm = msgspec.structs.replace(across, bad=[])
    memory = {"reserved": "reserved", "allocated": "allocated"}
    all_bad = msgspec.structs.replace(across, title="Loss") if across.bad else None  # no batch was finite
    found = (
        chart_of("Loss", _lines(curves, where, {"loss": "loss"}), across) or all_bad,
        chart_of("Parts of the loss", _lines(curves, where, _parts(training, curves)), across),
        chart_of("Gradient norm before clipping", _lines(curves, where, {"grad_norm": "norm"}), across, log=True),
        chart_of("GPU memory", _lines(curves, where, memory, bytes_scale()), calm, "GiB", log=False),
        chart_of("Learning rate", _lines(curves, where, _rates(training, curves)), calm),
    )
    return [chart for chart in found if chart is not None]


def _time(curves: Curves, across: Chart, where: dict[int, float]) -> list[Chart]:
    calm = msgspec.structs.replace(across, bad=[])
    names = {"batch_s": "a batch", "data_wait_s": "of it waiting for data"}
    drawn = chart_of("Time per batch", _lines(curves, where, names), calm, "s")
    return [drawn] if drawn else []


def _lines(curves: Curves, where: dict[int, float], names: dict[str, str], scale: float = 1.0) -> list[Curve]:
    return [line_of(name, curves.signals.get(signal, []), where, scale) for signal, name in names.items()]


def _parts(training: TrainingState, curves: Curves) -> dict[str, str]:
    names = part_names(training)
    shown = sorted(signal for signal in curves.signals if signal.startswith("part/"))
    return {s: names[i] if i < len(names) else s for s in shown for i in [int(s.partition("/")[2])]}


def _rates(training: TrainingState, curves: Curves) -> dict[str, str]:
    further = sorted(signal for signal in curves.signals if signal.startswith("rate/"))
    return dict(zip(["learning_rate", *further], group_names(training, 1 + len(further)), strict=True))


def _bad(curves: Curves, where: dict[int, float]) -> list[tuple[float, int]]:
    return [(_middle(p) + where[p.generation], round(p.mean * p.n)) for p in curves.signals.get("nonfinite", [])
            if p.mean > 0 and p.generation in where]  # fmt: skip


def _middle(point: Point) -> float:
    return (point.first + point.last) / 2


def _resolution(curves: Curves) -> str:
    if curves.width == 1:
        return "Every batch as it was recorded."
    return f"A line is the mean of {plural(curves.width, 'batch')}, the band behind it the lowest and the highest."
