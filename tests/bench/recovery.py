"""How long a rollback takes, from the first bad batch to the first batch of the new generation. Prints a table.

Runs the demo (a real training on this machine) in a folder of its own and reads what it left: the documents of the run
folder and the last snapshot. `python -m tests.bench.recovery [FOLDER]`; with the folder of a kept demo it only reads.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from monitor.core.state.run import Fleet, RunState
from monitor.demo.scene import RUN
from monitor.vault.verify import examine
from trainer_hooks.wire import document_io
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit, Generation
from trainer_hooks.wire.runfolder import RunFolder


def main(arguments: list[str]) -> int:
    """Run the demo unless a folder is given, and print the table."""
    if arguments:
        return _print(Path(arguments[0]))
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        entry = "from _trainwarden import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", entry, "demo", "--keep", folder], stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            print(f"the demo ended with {done.returncode}: run `trainwarden demo` to see why", file=sys.stderr)
            return 1
        return _print(Path(folder))


def _print(folder: Path) -> int:
    state = folder / "state"
    run = _last_state(state / "history.sqlite3")
    rows = [*_batches(run), *_seconds(run, RunFolder(state / "runs" / RUN), state)]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def _last_state(history: Path) -> RunState:
    connection = sqlite3.connect(f"file:{history}?mode=ro", uri=True)
    (fleet,) = connection.execute("SELECT fleet FROM snapshots ORDER BY seq DESC LIMIT 1").fetchone()
    connection.close()
    return msgspec.msgpack.decode(fleet, type=Fleet).runs[RUN]


def _batches(run: RunState) -> list[tuple[str, str]]:
    incident = run.training.ledger.incidents[0]
    assert incident.action.left_at is not None, "the demo's order was obeyed"
    return [
        ("batches from the first NaN to the rule", str(incident.opened_at.count - incident.onset.count)),
        ("batches from the rule to the order obeyed", str(incident.action.left_at.count - incident.opened_at.count)),
    ]


def _seconds(run: RunState, folder: RunFolder, state: Path) -> list[tuple[str, str]]:
    incident, plan = run.training.ledger.incidents[0], document_io.read(folder.plan(2), Plan)
    receipt = document_io.read(folder.receipt(plan.order), Receipt)
    left = document_io.read(folder.exit(1), Exit)
    started = document_io.read(folder.generation(2), Generation)
    told = next(t for t in run.training.starts if t.plan_id == plan.id)
    first = _first_batch(state / "history.sqlite3")
    assert plan.checkpoint is not None, "the demo rolls back"
    verified = examine(Path(plan.checkpoint.path), plan.checkpoint.digest)
    steps = [
        ("decide: rule to plan on disk", plan.written_s - incident.opened_s),
        ("obey: plan to receipt", receipt.written_s - plan.written_s),
        ("leave: receipt to every process gone", left.ended_s - receipt.written_s),
        ("put the branch aside, start the process", started.started_s - left.ended_s),
        ("import and build the trainer", told.wall_s - started.started_s),
        ("first batch", first - told.wall_s),
        ("in all, from the rule", first - incident.opened_s),
        ("verify the checkpoint (begun at the first NaN, off this path)", verified.seconds),
    ]
    return [(name, f"{seconds:.2f} s") for name, seconds in steps]


def _first_batch(history: Path) -> float:
    connection = sqlite3.connect(f"file:{history}?mode=ro", uri=True)
    query = "SELECT at_s FROM samples WHERE run = ? AND generation = 2 ORDER BY n LIMIT 1"
    (at_s,) = connection.execute(query, (RUN,)).fetchone()
    connection.close()
    return float(at_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
