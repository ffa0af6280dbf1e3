"""The demo's check list: all of it holds for a good night, and each line fails when its evidence does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.core.model import Verdict
from monitor.daemon.api.snapshots import CheckpointLine, IncidentSummary
from monitor.demo.checks import checks_of
from monitor.demo.collected import Answers, EpochResult, Evidence, Passes
from monitor.demo.scene import FAULT_FROM
from monitor.vault.verify import Examination
from trainer_hooks.wire.plan import Change, Checkpoint, Plan, Receipt, Settings

INCIDENT = IncidentSummary(
    id="demo-night-i1", number=1, family="nonfinite", severity="critical", state="resolved", live=False, opened_s=0.0,
    closed_s=9.0, onset_epoch=4, onset_batch=32, action="rollback", attempts=1, batches_discarded=44, watch_seen=120,
    watch_needed=120, outcome="", settings_read_back=True,
)  # fmt: skip
LINE = CheckpointLine(
    epoch=3, generation=1, verdict="clean", why="healthy batches followed", saved_s=0.0, size=1, digest="d3", path="",
    is_best=True, dropped=False,
)  # fmt: skip
PLAN = Plan(
    id="p", run="demo-night", generation=2, kind="rollback", order="o", incident="demo-night-i1", reason="", ordinal=1,
    arguments_digest="", save_dir="", best=None, start_epoch=4, checkpoint=Checkpoint(path="c", digest="d3", epoch=3),
    settings=Settings(groups=(), clip_norm=5, momentum=0.85, ramp_batches=40, warmup_epochs=1.5, learning_rate=0.005,
                      weight_decay=0.001),
    changes=(Change(setting="clip", old="10", new="5"),), seed_offset=1, onset_samples=(), grace_s=30, written_s=0.0,
)  # fmt: skip
SNAPSHOT = Checkpoint(path="s", digest="d3", epoch=3, extra_batches=FAULT_FROM)  # not before the fault
RECEIPT = Receipt(order="o", generation=1, outcome="applied", detail="", epoch=4, batch=43, read_back={}, written_s=0.0)
STRIPPED_FILE = Examination(verdict=Verdict.SOUND, reasons=("not resumable: the optimizer was stripped",), tensors=359)
POISONED_FILE = Examination(verdict=Verdict.POISONED, reasons=("NaN in 1 of 359 tensors",), tensors=359)


def sample(name: str, value: float, **labels: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(f"trainwarden_{name}", frozenset(({"run": "demo-night"} | labels).items())): value}


METRICS = (
    sample("skipped_steps_total", 4, by="guard")
    | sample("skipped_steps_total", 0, by="scaler")
    | sample("nonfinite_batches_total", 4, kind="loss")
    | sample("incidents_total", 1, family="nonfinite", severity="critical")
    | sample("rollbacks_total", 1, outcome="applied")
)
ANSWERS = Answers(incident=INCIDENT, checkpoints=(LINE,), metrics=METRICS)
GOOD = Evidence(
    exit_code=0,
    passes=Passes(overflow=4, finite=38),
    plan=PLAN,
    receipt=RECEIPT,
    answers=ANSWERS,
    results=tuple(EpochResult(epoch, 0.5) for epoch in range(1, 9)),
    weights={"last.pt": STRIPPED_FILE, "best.pt": STRIPPED_FILE},
    alerts=("incident_opened", "rolled_back", "resolved"),
    report_path=Path("1.md"),
    report="# Incident 1\nBack to the end of epoch 3.",
)


def failing(evidence: Evidence) -> list[str]:
    return [check.claim for check in checks_of(evidence) if not check.holds]


def answering(**changes: Any) -> Evidence:
    return replace(GOOD, answers=replace(ANSWERS, **changes))


def test_every_claim_holds_for_a_good_night() -> None:
    assert failing(GOOD) == []


@pytest.mark.parametrize(
    ("evidence", "claim"),
    [
        (replace(GOOD, passes=Passes(0, 0)), "the fault was injected"),
        (replace(GOOD, passes=Passes(4, 0)), "the lower rate took it away"),
        (replace(GOOD, passes=Passes(5, 38)), "every bad step was skipped"),
        (replace(GOOD, receipt=None), "left its loop at a batch boundary"),
        (replace(GOOD, receipt=msgspec.structs.replace(RECEIPT, outcome="killed")), "left its loop at a batch"),
        (replace(GOOD, plan=None), "examined and chosen"),
        (answering(checkpoints=()), "examined and chosen"),
        (answering(checkpoints=(msgspec.structs.replace(LINE, verdict="suspect"),)), "examined and chosen"),
        (replace(GOOD, plan=msgspec.structs.replace(PLAN, snapshot=SNAPSHOT)), "examined and chosen"),
        (answering(incident=msgspec.structs.replace(INCIDENT, settings_read_back=False)), "read back"),
        (answering(incident=msgspec.structs.replace(INCIDENT, settings_differ=("clip is 10, not 5",))), "read back"),
        (answering(incident=None), "was resolved"),
        (answering(incident=msgspec.structs.replace(INCIDENT, state="watching")), "was resolved"),
        (answering(incident=msgspec.structs.replace(INCIDENT, watch_seen=119)), "proved the cure"),
        (replace(GOOD, exit_code=1), "the training finished"),
        (replace(GOOD, results=()), "results.csv"),
        (replace(GOOD, results=(*GOOD.results[:4], GOOD.results[3], *GOOD.results[4:])), "results.csv"),
        (replace(GOOD, results=(*GOOD.results[:-1], EpochResult(8, 0.0))), "results.csv"),
        (replace(GOOD, results=(*GOOD.results[:-1], EpochResult(8, float("nan")))), "results.csv"),
        (replace(GOOD, weights={"last.pt": STRIPPED_FILE, "best.pt": POISONED_FILE}), "no damage"),
        (replace(GOOD, alerts=("incident_opened", "resolved")), "webhook"),
        (answering(metrics={}), "/metrics agrees"),
        (answering(metrics=METRICS | sample("rollbacks_total", 2, outcome="applied")), "/metrics agrees"),
        (replace(GOOD, report=""), "report"),
    ],
)
def test_a_claim_fails_where_its_evidence_does(evidence: Evidence, claim: str) -> None:
    assert any(claim in failed for failed in failing(evidence))


def test_a_silent_daemon_fails_the_claims_that_rest_on_it_and_says_why() -> None:
    checks = checks_of(replace(GOOD, answers=Answers(silence="no daemon answers")))
    assert [check.seen for check in checks if not check.holds].count("no daemon answers") >= 3
