"""Runs with their curves, as a report gets them: simulated by the simulation, their curves made by hand."""

from __future__ import annotations

import math

import msgspec

from monitor.core.model import Cause, Diagnosis, Incident, Shift
from monitor.core.model.curves import Curves, Point
from monitor.core.state.run import RunState
from monitor.report.report_input import AFTER_ONSET, BEFORE_ONSET, ReportInput, without_statistics
from tests.harness.night import NOW_S, night
from tests.harness.simulation import At, Simulation, supervised
from trainer_hooks.wire.messages import OrderApplied, SettingChanged

HOSTILE = (
    "x\n# Owned | `rm` <img src=x onerror=alert(1)> <script>alert(2)</script> [a](javascript:1) "
    '**b** _c_ www.evil.example @all \u202e\x1b[31m\\ " onload="alert(3) \' </title></style></svg> &#x3C;b&#x3E; ]]>'
    " ![i](http://evil.example/i)"
) + "A" * 10_000


def rolled_back(**more: object) -> Simulation:
    """A run that meets NaN in epoch 4 of 8, goes back to epoch 3 and finishes."""

    def fault(at: At) -> bool:
        return at.generation == 1 and at.epoch == 4 and at.batch >= 30 and at.batch % 7 == 0

    simulation = supervised(fault=fault, batches_per_epoch=120, cured=False, **more)  # type: ignore[arg-type]
    simulation.train()
    return simulation


def gone_back() -> Simulation:
    """A run whose weights are ruined after batch 79 of epoch 2, and that goes back to batch 60 in its process."""
    simulation = supervised(goes_back=True)
    simulation.restart(1)
    healthy = {"loss": 1.0, "grad_norm": 1.0}
    for batches, saved in ((100, (1, 0)), (60, (1, 60)), (20, None)):
        for _ in range(batches):
            simulation.batch(**healthy)
        if saved:
            digest = f"{saved[1]:064d}"
            simulation.checkpoint(digest, epoch=saved[0], extra_batches=saved[1])
    while simulation.pending is None:
        simulation.batch(math.nan, math.nan, cured=False)
    order, (epoch, batch) = simulation.pending, simulation.place()
    assert order.kind == "go_back"
    simulation.send(OrderApplied(simulation.now_s, order.id, "applied", "batch 60 of epoch 2", epoch, batch, {}))
    simulation.batch(**healthy)
    return simulation


def report_input_of(simulation: Simulation, *, title: str = "") -> ReportInput:
    """With a curve for each signal, over all batches of each generation, and around each onset."""
    run = without_statistics(simulation.run)
    run.spec = msgspec.structs.replace(run.spec, title=title)
    lengths = {
        g: sum(r.batches for r in run.training.epochs if r.generation == g) for g in range(1, run.generation + 1)
    }
    return ReportInput(
        run, simulation.now_s, curves(lengths), {i.number: around(i) for i in run.training.ledger.incidents}
    )


def curves(lengths: dict[int, int], first: int = 1) -> Curves:
    """Curves of as many batches of each generation."""
    signals = (
        "loss", "grad_norm", "learning_rate", "rate/1", "rate/2", "reserved", "allocated", "part/0", "part/1", "part/2",
        "batch_s",
    )  # fmt: skip
    drawn = {
        name: [_point(g, i, 2.0 + math.sin(i / 9)) for g, n in lengths.items() for i in range(first, first + n)]
        for name in signals
    }
    bad = [_point(g, i, float(i % 50 == 0)) for g, n in lengths.items() for i in range(first, first + n)]
    return Curves(1, drawn | {"nonfinite": bad})


def around(incident: Incident) -> Curves:
    """The curves around its onset."""
    first = max(incident.onset.count - BEFORE_ONSET, 1)
    return curves({incident.onset.generation: incident.onset.count + AFTER_ONSET - first + 1}, first)


def _point(generation: int, at: int, value: float) -> Point:
    return Point(generation, at, at, 1, value, value, value)


def hostile(text: str = HOSTILE) -> ReportInput:
    """A run in which every text that comes from outside is `text`."""
    run, incident = night()
    _hostile_training(run, text)
    _hostile_incident(incident, text)
    run.spec = msgspec.structs.replace(run.spec, title=text, argv=(text,), cwd=text, interpreter=text)
    run.ended, run.ended_detail, run.ended_s, run.training.final_metrics = "failed", text, NOW_S, {text: math.nan}
    run.training.settings_log.append((1, SettingChanged(NOW_S, 4, 0, text, text, text, text)))
    run.training.nonfinite_log[0] = (
        1,
        msgspec.structs.replace(run.training.nonfinite_log[0][1], first_bad=text, samples=(text,)),
    )
    run.training.checkpoints[0].reasons = [text]
    run.training.ledger.counters.orders = {f"{text}/applied": 1}
    run.training.totals.findings = {f"{text}/critical": 1}
    run.training.findings = [msgspec.structs.replace(incident.findings[0], detector=text, value=math.inf)]
    return ReportInput(run, NOW_S, curves({1: 40}), {incident.number: curves({1: 30}, first=incident.onset.count)})


def _hostile_training(run: RunState, text: str) -> None:
    assert run.training.started is not None
    settings = run.training.started.settings | {text: text, "optimizer": text}
    run.training.started = msgspec.structs.replace(
        run.training.started, part_names=(text,) * 3, group_names=(text,) * 3, versions={text: text}, settings=settings,
        device=text, framework=text,
    )  # fmt: skip
    run.training.starts = [run.training.started]


def _hostile_incident(incident: Incident, text: str) -> None:
    incident.family = incident.action.reason = incident.outcome = text
    incident.at_open.samples = [text] * 3
    cause = Cause(text, text, 1.0, (text, text), (text,), text)
    shift = Shift(text, text, text, 9.0, 1.0, text)
    at = incident.onset
    incident.diagnosis = Diagnosis(
        at, at, text, text, f"{text} it is", (cause, cause), (shift, shift), (text, text), memory=text
    )
    incident.timeline[0] = msgspec.structs.replace(incident.timeline[0], text=text)
    incident.findings[0] = msgspec.structs.replace(incident.findings[0], summary=text, detector=text)
