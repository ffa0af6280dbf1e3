"""Everything that is said of a simulated run: on the terminal, in alerts, reports, `status` and the like."""

from __future__ import annotations

from typing import Protocol

import msgspec

from monitor.cli.checkpoints_command import resume_lines, table
from monitor.cli.status_command import detail_lines, training_rows
from monitor.cli.top_rows import row_of, row_of_training, shown_trainings
from monitor.core.model import RaiseAlert
from monitor.core.state.run import RunState
from monitor.core.summary import shown_incident, shown_training, summary_of
from monitor.daemon.api.glance import glance_of
from monitor.daemon.api.snapshots import checkpoints_of, detail_of
from monitor.report.report_input import ReportInput, without_statistics
from monitor.report.whole import blocks, markdown
from monitor.supervisor.status_line import Detail, line_of

PORT = 9469


class Played(Protocol):
    """A run that was played, whoever did that."""

    @property
    def run(self) -> RunState: ...

    @property
    def now_s(self) -> float: ...

    @property
    def messages(self) -> list[str]: ...

    @property
    def alerts(self) -> list[RaiseAlert]: ...

    @property
    def batches_run(self) -> int: ...


def said_of(simulation: Played) -> dict[str, str]:
    """The texts, by what shows them."""
    run, now_s = simulation.run, simulation.now_s
    detail = detail_of(run, now_s, PORT)
    glance = glance_of(run, now_s)
    lines = checkpoints_of(run)
    shown = shown_training(run)
    found = {
        "terminal": "\n".join(simulation.messages),
        "alerts": "\n\n".join(f"{a.title}\n{a.text}" for a in simulation.alerts),
        "summary": "\n".join(summary_of(run, shown, shown_incident(run, shown), now_s).lines()),
        "status": "\n".join(f"{name}: {text}" for name, text in (*detail.in_short, *detail_lines(detail, now_s))),
        "status trainings": _rows(training_rows(detail)),
        "title": line_of(msgspec.json.decode(msgspec.json.encode(detail), type=Detail).summary),
        "top": _rows([[cell.plain for cell in row_of(glance, [], now_s)]]),
        "top trainings": _rows([[c.plain for c in row_of_training(one)] for one in shown_trainings(glance)]),
        "checkpoints": "\n".join([_rows(table(lines)[1]), *resume_lines(lines)]) if lines else "",
    }
    for number, training in run.trainings.items():
        if training.seen:
            found[f"report of training {number}"] = markdown(
                blocks(ReportInput(without_statistics(run), now_s, number=number))
            )
    return found


def _rows(rows: list[list[str]]) -> str:
    return "\n".join(" | ".join(row) for row in rows)
