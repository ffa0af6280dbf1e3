"""What the night's diagnosis must say: what drove memory, that the scheduler followed its plan, where the biases stood.

The figures of tests/recorded/test_the_night.py, with what a hook reports of each batch: the rates of a warm-up of five
epochs (weights up from 0 to 0.0005, biases down from 0.1), and the instances of the fullest image.
"""

from __future__ import annotations

import functools
import random
from typing import Any

from monitor.core.model import Diagnosis
from monitor.report import render
from tests.harness.simulation import GIB, At, Simulation, supervised
from tests.recorded.test_the_night import BATCH_S, BATCHES_PER_EPOCH, FIRST, bad_positions

WARM_UP = 5 * BATCHES_PER_EPOCH
CROWDED_AT, CROWDED = 20, 731  # before the onset: at its own batch 32 nothing of the night was crowded
LATER = 2_417
LR0, BIAS_START = 0.0005, 0.1


def usual_most() -> list[int]:
    """The most instances of any one image, batch by batch; 212 at most, as in epoch 3."""
    draw = random.Random(7)
    return [212, *(round(20 * 2.718 ** (0.6 * draw.gauss(0, 1))) for _ in range(996))]


USUAL = usual_most()


def reported(crowded_at: int) -> Any:
    def fields(at: At) -> dict[str, Any]:
        done = (at.epoch - 1) * BATCHES_PER_EPOCH + at.batch
        share = min(done / WARM_UP, 1.0)
        decay = 1.0 - 0.99 * (at.epoch - 1) / 50
        crowded = (at.epoch, at.batch) == (4, crowded_at)
        after = (at.epoch, at.batch) >= (4, crowded_at)
        rate = LR0 * decay * share
        return {
            "instances_max": CROWDED if crowded else USUAL[done % len(USUAL)],
            "memory_reserved": int((4.71 if after else 4.20) * GIB),
            "learning_rates": (rate, rate, BIAS_START + (LR0 * decay - BIAS_START) * share),
            "grad_norm": 5.0 + 0.3 * USUAL[(done * 7) % len(USUAL)] / 20.0,
        }

    return fields


@functools.cache
def night(crowded_at: int, *, act: bool, batches: int) -> Simulation:
    """The night up to `batches` of epoch 4."""
    bad = bad_positions(seed=1)
    simulation = supervised(
        epochs=50,
        batches_per_epoch=BATCHES_PER_EPOCH,
        batch_s=BATCH_S,
        fault=lambda at: at.generation == 1 and at.epoch == 4 and at.batch in bad,
        act=act,
        fields=reported(crowded_at),
        batches_max=3 * BATCHES_PER_EPOCH + batches,
    )
    simulation.train()
    return simulation


def diagnosis(simulation: Simulation) -> Diagnosis:
    found = simulation.run.training.ledger.incidents[0].diagnosis
    assert found is not None
    return found


def test_it_says_what_drove_memory() -> None:
    """The largest instance count of any one image at that batch, and that it is no sign of the NaN."""
    memory = diagnosis(night(CROWDED_AT, act=True, batches=2000)).memory
    assert "drove memory" in memory
    assert "from 4,300 to 4,823 MiB at epoch 4, batch 20" in memory
    assert "the largest instance count of any one image was 731 in that batch, against 212 at most" in memory
    assert "not a sign" in memory


def test_it_says_that_the_scheduler_followed_its_plan_but_the_biases_stood_at_80_times_lr0() -> None:
    notes = " ".join(diagnosis(night(CROWDED_AT, act=True, batches=2000)).notes)
    assert "The scheduler followed its plan" in notes
    assert "Group bias stood at 0.0403, 80 times lr0 (0.0005)" in notes


def test_it_says_where_in_warm_up_the_onset_lies() -> None:
    found = diagnosis(night(CROWDED_AT, act=True, batches=2000))
    assert found.onset.epoch == 4
    assert found.onset.batch >= FIRST
    (place,) = [note for note in found.notes if "warm-up" in note]
    assert "60 % into warm-up" in place
    assert "its end is not the cause" in place


def test_a_cause_that_nothing_shows_is_not_made_up() -> None:
    """The norm was as usual, every bad batch had other samples, no setting had changed: nobody can know it yet."""
    found = diagnosis(night(CROWDED_AT, act=True, batches=2000))
    assert found.verdict == ""
    assert found.text.startswith("Not enough evidence")
    assert "out of nothing" in str(found.causes)


def test_memory_that_rises_long_after_the_onset_is_explained_too() -> None:
    """An observed night goes on: the batch that drove memory comes 2,000 batches after the incident opened."""
    simulation = night(LATER, act=False, batches=2600)
    found = diagnosis(simulation)
    assert simulation.run.training.ledger.incidents[0].opened_at.batch < LATER
    assert "at epoch 4, batch 2,417" in found.memory
    assert "731" in found.memory
    assert any("60 % into warm-up" in note for note in found.notes)


def test_the_alert_and_the_report_say_it() -> None:
    simulation = night(CROWDED_AT, act=True, batches=2000)
    (alert,) = [a for a in simulation.alerts if a.kind == "incident_opened"]
    assert "Not enough evidence" in alert.text
    assert "Reserved GPU memory" in alert.text
    report = render(
        simulation.run, simulation.run.training, simulation.run.training.ledger.incidents[0], simulation.now_s
    )
    assert report.index("## What happened") < report.index("## Likely cause") < report.index("## What changed")
    assert "What drove memory" in report
