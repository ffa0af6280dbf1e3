"""A diagnosis in the life of an incident: made, made anew, frozen, refolded; and a defect in it ends nothing."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest

from monitor.core.engine import Core, restored, snapshot
from monitor.core.model import IncidentState
from monitor.core.policy.diagnosing import REVISIONS_MAX
from monitor.core.policy.settings import Policy, Rollback
from monitor.core.policy.table_settings import WhenClean
from tests.harness.noise import FORWARD
from tests.harness.simulation import At, Simulation, noisy, supervised
from tests.unit.monitor.diagnosis.causes import names
from trainer_hooks.wire.messages import BatchEnded, Nonfinite, SettingChanged

WILD = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, -1e308, 5e-324, 2.0)
WHOLE = (0, 1, -5, 1 << 62)


def storm(training: Simulation, batches: int = 60) -> None:
    for i in range(batches):
        bad = FORWARD if i % 9 == 2 else Nonfinite(0)
        training.noisy_batch(bad=bad, samples=names(training.draw))


def test_the_opening_alert_says_the_verdict_and_the_largest_changes() -> None:
    training = noisy(5)
    training.noisy_batches(300)
    training.noise.rate = 0.1
    training.noisy_batch()
    storm(training)
    (alert,) = [a for a in training.alerts if a.kind == "incident_opened"]
    assert "Not enough evidence" in alert.text
    assert "The learning rate of group weight jumped x 10" in alert.text


def test_refolding_the_journal_gives_the_same_diagnosis() -> None:
    training = noisy(6)
    training.noisy_batches(300)
    storm(training)
    again, resumed = Core(), Core()
    for entry in training.entries:
        again.feed(entry)
        resumed.feed(entry)
        if entry.seq % 97 == 0:
            resumed = restored(snapshot(resumed))
    known = msgspec.msgpack.encode(training.incident.diagnosis)
    assert training.incident.diagnosis is not None
    assert msgspec.msgpack.encode(again.fleet.runs["night"].training.ledger.incidents[0].diagnosis) == known
    assert msgspec.msgpack.encode(resumed.fleet.runs["night"].training.ledger.incidents[0].diagnosis) == known


def test_it_is_made_anew_as_evidence_comes_and_not_for_every_batch() -> None:
    training = noisy(7)
    training.noisy_batches(300)
    storm(training, 900)
    found = training.incident.diagnosis
    assert found is not None
    assert 5 <= found.revision <= REVISIONS_MAX
    assert found.at.count > training.incident.opened_at.count + 250


def test_it_is_frozen_once_something_was_done() -> None:
    """The batches of the next generation say nothing of this onset."""

    def fault(at: At) -> bool:
        return at.generation == 1 and at.epoch == 4 and at.batch % 10 == 5

    simulation = supervised(
        policy=Policy(when_clean=WhenClean.ROLLBACK, rollback=Rollback(redo_limit_epochs=9.0)),
        fault=fault,
        batches_per_epoch=200,
    )
    simulation.train()
    incident = simulation.run.training.ledger.incidents[0]
    assert incident.diagnosis is not None
    assert simulation.generation == 2
    assert incident.diagnosis.at.generation == 1


def test_a_defect_in_it_is_counted_and_said_and_the_incident_goes_on() -> None:
    """A settings change without a name can't come over the wire; if it did, it would raise."""
    training = noisy(8)
    training.noisy_batches(300)
    nameless = SettingChanged(0.0, 1, 299, None, "1", "2", "")  # type: ignore[arg-type]
    training.run.training.settings_log.append((1, nameless))
    storm(training)
    assert training.incident.state is IncidentState.WATCHING
    assert training.incident.diagnosis is None
    assert training.run.ledger.defects == 1
    assert [a.kind for a in training.alerts if a.incident] == ["incident_opened"]


@pytest.mark.parametrize("seed", range(12))
def test_no_value_whatever_breaks_it(seed: int) -> None:
    """Non-finite, negative, huge and missing numbers in every field, before and after the onset."""
    draw = random.Random(seed)
    training = noisy(seed, scaler=True, settings={"lr0": "nan", "warmup_epochs": "1e400", "warmup_steps": "-3"})
    fields = ("momentum", "clip_norm", "loss_scale", "update_ratio")
    whole = ("instances", "instances_max", "memory_reserved", "memory_allocated", "alloc_retries", "sequence_length")
    for i in range(500):
        odd: dict[str, Any] = {name: draw.choice((*WILD, None)) for name in fields if draw.random() < 0.5}
        odd |= {name: draw.choice((*WHOLE, None)) for name in whole if draw.random() < 0.5}
        odd["learning_rates"] = tuple(draw.choice(WILD) for _ in range(draw.randint(0, 3)))
        bad = FORWARD if i > 250 and draw.random() < 0.3 else Nonfinite(0)
        training.noisy_batch(
            bad=bad, wait_s=draw.choice((0.0, 0.01, 1e9)), loss=draw.choice((1.0, 0.0, -1.0, 1e300)), **odd
        )
    assert training.run.ledger.defects == 0
    found = training.incident.diagnosis
    assert found is not None
    assert all(math.isfinite(shift.effect) and abs(shift.delta) <= 1.0 for shift in found.shifts)


def test_a_record_without_any_number_gives_a_diagnosis_that_abstains() -> None:
    training = noisy(9, unknown=tuple(BatchEnded.__struct_fields__), settings={})
    training.noisy_batches(50)
    storm(training, 40)
    found = training.incident.diagnosis
    assert found is not None
    assert found.verdict == ""


def test_a_warning_that_opens_no_incident_tells_its_likely_cause() -> None:
    """A leak is told, not acted on; the message says what it is."""
    training = noisy(10, batches_per_epoch=10_000)
    training.noisy_batches(300)
    for i in range(3400):
        training.noise.memory_mib = 4300.0 + 20.0 * (i // 120)
        training.noisy_batch(memory_allocated=round((3000.0 + i / 6.0) * (1 << 20)))
    texts = [a.text for a in training.alerts if a.kind == "watch"]
    assert any("Likely cause: a leak" in text for text in texts), texts
