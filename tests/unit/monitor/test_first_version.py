"""What the first version wrote is still read: the fields that were renamed since have their old names on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.core.model import (
    ActionKind,
    CommandGiven,
    CommandKind,
    CureWatch,
    Entry,
    FactsAtOpen,
    GenerationExited,
    GenerationStarted,
    Incident,
    IncidentAction,
    IncidentEntry,
    IncidentState,
    IncidentTotals,
    Input,
    Option,
    Position,
    RunEnded,
    Severity,
    SupervisorChanged,
)
from monitor.core.model.outcomes import outcome_of
from monitor.core.state.ledger import ActionPlace, Counters
from monitor.core.state.stacks import Stacks, Standstill
from monitor.history.old_state import run_of
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.run_documents import Exit, Generation, GenerationOutcome, RunOutcome, RunOver

EXIT = Exit(number=1, code=75, signal=None, ended_s=5.0)
ENTRIES: list[tuple[str, Input]] = [
    (
        (
            "9307cb400400000000000086a474797065b267656e65726174696f6e5f73746172746564a372756ea56e69676874a66e756d62657201a56e"
            "6f6e6365a26e31a37069640ba87368696d5f70696416"
        ),
        GenerationStarted("night", 1, "n1", 11, 22),
    ),
    (
        "9307cb400400000000000083a474797065ac7368696d5f6368616e676564a372756ea56e69676874a87368696d5f70696416",
        SupervisorChanged("night", 22),
    ),
    (
        (
            "9307cb400400000000000084a474797065b167656e65726174696f6e5f657869746564a372756ea56e69676874a46578697486a66e756d62"
            "657201a4636f64654ba67369676e616cc0a7656e6465645f73cb4014000000000000aa657363616c6174696f6ea0a561736b6564c2a87265"
            "6c61756e6368c2"
        ),
        GenerationExited("night", EXIT, relaunch=False),
    ),
    (
        (
            "9307cb400400000000000084a474797065a972756e5f656e646564a372756ea56e69676874a3686f77a773746f70706564a664657461696c"
            "a762792068616e64"
        ),
        RunEnded("night", RunOutcome.STOPPED, "by hand"),
    ),
    (
        "9307cb400400000000000084a474797065a7636f6d6d616e64a372756ea56e69676874a46b696e64a473746f70a26279a3616e6e",
        CommandGiven("night", CommandKind.STOP, "ann"),
    ),
]


AT = Position(1, 1, 3, 4)
OLD_INCIDENT = Incident(
    "night-i1",
    1,
    "nonfinite",
    Severity.CRITICAL,
    IncidentState.WATCHING,
    opened_s=1.0,
    opened_at=AT,
    onset=AT,
    at_open=FactsAtOpen(samples=["7.png"], nonfinite=4, options=[Option("go on", "nothing", chosen=True)]),
    action=IncidentAction(
        ActionKind.ROLLBACK, "epoch 3 is clean", "1b", target="3a", left_at=AT, applied_s=2.0, resumed_s=3.0
    ),
    watch=CureWatch(needed=1000, seen=500, notified=2, samples_left=1),
    totals=IncidentTotals(attempts=2, rollbacks=1, batches_discarded=53, downtime_s=72.0),
    timeline=[IncidentEntry(1.0, "it began")],
    outcome="not known",
)


@pytest.mark.parametrize(("data", "given"), ENTRIES)
def test_an_entry_of_the_journal(data: str, given: Input) -> None:
    assert msgspec.msgpack.decode(bytes.fromhex(data), type=Entry) == Entry(7, 2.5, given)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (
            (
                '{"number":1,"nonce":"n1","allocated_by":"shim","pid":11,"start_ticks":3,"boot_id":"b","started_s":2.0,'
                '"shim_pid":22}'
            ),
            Generation(
                number=1,
                nonce="n1",
                allocated_by="shim",
                pid=11,
                start_ticks=3,
                boot_id="b",
                started_s=2.0,
                supervisor_pid=22,
            ),
        ),
        ('{"number":1,"code":75,"signal":null,"ended_s":5.0,"escalation":"","asked":false}', EXIT),
        (
            '{"how":"held","detail":"why","code":75,"ended_s":9.0}',
            RunOver(how=RunOutcome.HELD, detail="why", code=75, ended_s=9.0),
        ),
    ],
)
def test_a_document_of_the_run_folder(tmp_path: Path, text: str, document: Generation | Exit | RunOver) -> None:
    (tmp_path / "document.json").write_text(text)
    assert read(tmp_path / "document.json", type(document)) == document


def test_an_exit_without_an_outcome_is_understood() -> None:
    assert outcome_of(EXIT) is GenerationOutcome.FAILED
    assert outcome_of(EXIT, order_obeyed=True) is GenerationOutcome.STOPPED


def test_a_snapshot_of_the_state() -> None:
    at = {"generation": 1, "epoch": 1, "batch": 3, "count": 4}
    incident = {
        "id": "night-i1",
        "number": 1,
        "family": "nonfinite",
        "severity": "critical",
        "state": "watching",
        "opened_s": 1.0,
        "opened_at": at,
        "onset": at,
        "story": [{"at_s": 1.0, "text": "it began"}],
        "rung": "rollback",
        "reason": "epoch 3 is clean",
        "attempts": 2,
        "rollbacks": 1,
        "batches_discarded": 53,
        "downtime_s": 72.0,
        "target": "3a",
        "waiting_for": "1b",
        "left_at": at,
        "applied_s": 2.0,
        "resumed_s": 3.0,
        "onset_samples": ["7.png"],
        "window_nonfinite": 4,
        "options": [{"name": "go on", "cost": "nothing", "chosen": True}],
        "watch_from": 1,
        "watch_needed": 1000,
        "watch_seen": 500,
        "watch_said": 2,
        "samples_left": 1,
        "nonfinite_at_open": 9,
        "closed_s": None,
        "outcome": "not known",
    }
    streak = {"generation": 1, "began": 2, "count": 4, "severity": "critical"}
    run: dict[str, Any] = {
        "spec": {"run": "night", "argv": [], "cwd": "/", "created_s": 0.0, "act": True},
        "policy": "{}",
        "opened_s": 0.0,
        "shim_pid": 22,
        "incidents": [incident],
        "spells": {"nonfinite_batch/0": streak},
        "ranks": {0: {"rank": 0, "learned": {"odd_sizes": 3, "signals": {"loss": {"spell": 5, "lifted": 6}}}}},
    }
    hang = {"generation": 1, "count": 4, "began_s": 1.0, "told": True}
    run |= {"last_action_count": 70, "last_action_generation": 1, "kept": ["3a"]}
    run |= {"longest_s": {"train": 2.0}, "pauses": 1}
    run["totals"] = {"incidents": {"nonfinite/critical": 2}, "orders": {"stop/applied": 1}}
    run["stacks"] = {"spell": hang, "spent": 1}
    found = run_of(msgspec.msgpack.encode(run))
    training = found.training
    learned = training.ranks[0].learned
    assert (found.supervisor_pid, learned.size_mismatch_streak) == (22, 3)
    assert (learned.signals["loss"].streak, learned.signals["loss"].short_mean_high) == (5, 6)
    assert training.ledger.incidents == [OLD_INCIDENT]
    assert training.ledger.last_action == ActionPlace(1, 70)
    assert training.ledger.copies.kept == ("3a",)
    assert training.ledger.counters == Counters({"nonfinite/critical": 2}, {}, {"stop/applied": 1})
    assert (training.silence.longest_s, training.silence.pauses) == ({"train": 2.0}, 1)
    assert training.ledger.stacks == Stacks(Standstill(1, 4, 1.0, reported=True), spent=1)
    assert training.streaks["nonfinite_batch/0"].count == 4
