"""What a fault does to a real Ultralytics training with the hooks in it, case by case. Each fault must have fired."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Ended, Faults, Lab, Place, faults_of, train
from trainer_hooks.integrations.ultralytics.signals import parts
from trainer_hooks.wire.messages import EpochEnded, HookTrouble, Nonfinite, NonfiniteSeen, TrainingEnded

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]


def run(lab: Lab, probe: RecordingProbe, tmp_path: Path, faults: Faults, **overrides: Any) -> Ended:
    return train(lab.arguments(tmp_path, **overrides), lab.model, probe, faults)


def assert_unharmed(ended: Ended, *, epochs: int) -> None:
    """The training ended as if nothing had happened, and everything it left is clean."""
    assert ended.error is None
    assert ended.faults.fired, "the fault never happened: this test shows nothing"
    assert ended.faults.redone == [], "the built-in recovery woke up"
    assert ended.probe.of(HookTrouble) == []
    assert [row["epoch"] for row in ended.csv] == list(range(1, epochs + 1))
    assert all(math.isfinite(value) for row in ended.csv for value in row.values())
    assert faults_of(ended.trainer.last) == []
    assert faults_of(ended.trainer.best) == []
    state = ended.trainer.model.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    assert [checkpoint["state_finding"] for checkpoint in ended.probe.checkpoints] == [""] * epochs
    assert all(faults_of(checkpoint["bytes"]) == [] for checkpoint in ended.probe.checkpoints)
    assert [event.redone for event in ended.probe.of(EpochEnded)] == [False] * epochs
    assert ended.probe.of(TrainingEnded)[0].how == "finished"


def places_told(ended: Ended) -> list[Place]:
    return [(record.epoch, record.batch) for record in ended.probe.batches if record.nonfinite]


def test_case_a_one_nan_pixel_without_a_scaler_costs_one_step(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    ended = run(lab, probe, tmp_path, Faults(pixels={(3, 4)}), epochs=4)
    assert_unharmed(ended, epochs=4)
    assert places_told(ended) == [(3, 4)]
    (bad,) = probe.urgent
    assert Nonfinite(bad.nonfinite) == Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.BUFFER
    assert (bad.skipped_by, bad.cured) == ("guard", True)
    assert bad.loss is not None
    assert math.isnan(bad.loss)
    assert bad.grad_norm is not None
    assert math.isnan(bad.grad_norm)
    counts = probe.batches[-1].counts
    assert (counts.nonfinite_batches, counts.skipped_by_guard, counts.samples_lost) == (1, 1, 0)
    (evidence,) = probe.of(NonfiniteSeen)
    assert (evidence.epoch, evidence.batch) == (3, 4)
    assert 8 < len(set(evidence.samples)) <= 4 * 8  # every image of its eight mosaics
    assert not evidence.samples_partial
    assert "running_mean" in evidence.first_bad


def test_case_b_a_nan_loss_under_a_scaler_leaves_nothing(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    ended = run(lab, probe, tmp_path, Faults(losses={(3, 4)}, scaler=True))
    assert_unharmed(ended, epochs=3)
    assert places_told(ended) == [(3, 4)]
    assert (probe.urgent[0].skipped_by, probe.urgent[0].cured) == ("scaler", True)
    assert Nonfinite(probe.urgent[0].nonfinite) == Nonfinite.LOSS | Nonfinite.GRADIENT
    counts = probe.batches[-1].counts
    assert (counts.skipped_by_scaler, counts.scaler_overflows, counts.skipped_by_guard) == (1, 0, 0)
    before, at = (record.loss_scale for record in probe.batches[19:21])
    assert before is not None
    assert at == before / 2


def test_case_c_a_nan_forward_under_a_scaler_does_not_poison_batchnorm(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    ended = run(lab, probe, tmp_path, Faults(pixels={(2, 4)}, scaler=True), epochs=4)
    assert_unharmed(ended, epochs=4)
    assert places_told(ended) == [(2, 4)]
    assert probe.urgent[0].nonfinite & Nonfinite.BUFFER
    assert probe.urgent[0].cured
    average = ended.trainer.ema.ema.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in average.values())


def test_case_d_a_fault_in_every_epoch_costs_one_step_each(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    places = {(epoch, 5) for epoch in (2, 3, 4)}
    ended = run(lab, probe, tmp_path, Faults(pixels=set(places)), epochs=4)
    assert_unharmed(ended, epochs=4)
    assert places_told(ended) == sorted(places)
    assert probe.batches[-1].counts.skipped_by_guard == 3


@pytest.mark.parametrize(
    "place", [(1, 0), (1, 7), (3, 7)], ids=["first batch", "last of the first epoch", "last batch"]
)
def test_case_e_a_nan_at_an_epochs_edge_is_no_different(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, place: Place
) -> None:
    ended = run(lab, probe, tmp_path, Faults(pixels={place}))
    assert_unharmed(ended, epochs=3)
    assert places_told(ended) == [place]
    assert probe.urgent[0].cured


def test_case_f_a_user_who_stops_at_a_nan_gets_a_clean_checkpoint(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    def stop(trainer: Any, place: Place) -> None:
        trainer.stop = trainer.stop or place == (2, 4)

    ended = run(lab, probe, tmp_path, Faults(pixels={(2, 4)}, at_batch_end=stop))
    assert_unharmed(ended, epochs=2)
    assert places_told(ended) == [(2, 4)]


def test_case_g_a_user_who_raises_at_a_nan_keeps_a_resumable_checkpoint(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    def give_up(trainer: Any, place: Place) -> None:
        if not math.isfinite(trainer.loss.item()):
            raise ValueError(f"NaN at {place}")

    ended = run(lab, probe, tmp_path, Faults(pixels={(2, 4)}, at_batch_end=give_up))
    assert isinstance(ended.error, ValueError)
    assert faults_of(ended.trainer.last) == []
    assert [event.how for event in probe.of(TrainingEnded)] == ["exception"]
    state = ended.trainer.model.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in state.values())


def deciding_by_means() -> type:
    """The built-in recovery as the first release that had one built it: by the means of the epoch, not by its loss."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class DecidingByMeans(DetectionTrainer):  # type: ignore[misc]
        def _handle_nan_recovery(self, epoch: int) -> bool:
            if any(not bool(torch.isfinite(part)) for part in parts(self.tloss)):
                raise RuntimeError(f"NaN in epoch {epoch + 1}")
            return False

    return DecidingByMeans


@pytest.mark.parametrize("recovery", [lambda: None, deciding_by_means], ids=["by loss", "by means"])
def test_an_epoch_of_nothing_but_nan_still_ends(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, recovery: Callable[[], type | None]
) -> None:
    """Every step of it is dropped; the row in results.csv says nan, which is the truth, and the state stays clean."""
    faults = Faults(pixels={(2, batch) for batch in range(lab.batches)})
    ended = train(lab.arguments(tmp_path), lab.model, probe, faults, trainer=recovery())
    assert ended.error is None
    assert ended.faults.redone == []
    assert math.isnan(ended.csv[1]["train/box_loss"])
    assert faults_of(ended.trainer.last) == []
    assert probe.batches[-1].counts.nonfinite_batches == lab.batches


def test_with_accumulation_a_bad_batch_costs_its_step_and_the_good_samples_in_it(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    """A NaN in the second of four batches: one bad batch, one skipped step at the fourth, three batches of samples."""
    ended = run(lab, probe, tmp_path, Faults(pixels={(2, 1)}), nbs=32, warmup_epochs=0)
    assert_unharmed(ended, epochs=3)
    assert places_told(ended) == [(2, 1)]
    counts = probe.batches[-1].counts
    assert (counts.nonfinite_batches, counts.skipped_by_guard, counts.samples_lost) == (1, 1, 24)
    assert counts.steps < counts.batches / 3
    (skipped,) = [record for record in probe.batches if record.skipped_by]
    assert (skipped.epoch, skipped.nonfinite) == (2, 0)
    assert skipped.batch > 1


def test_without_the_guard_the_damage_is_told_as_it_is(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    """Switched off, nothing is cured, the built-in recovery redoes the epoch, and the records say all of that.

    Older releases recover only where the fitness collapses too, so it must have been above zero.
    """
    faults = Faults(pixels={(2, 4)})
    learnt = {"on_train_epoch_start": lambda trainer: setattr(trainer, "best_fitness", 0.1)}

    def once(_: Any, place: Place) -> None:
        if place == (2, 4):
            faults.pixels.clear()

    faults.at_batch_end = once
    ended = train(lab.arguments(tmp_path), lab.model, probe, faults, guard=False, callbacks=learnt)
    assert ended.error is None
    assert ended.faults.redone == [2]
    bad = [record for record in probe.batches if record.nonfinite]
    assert [(record.epoch, record.batch) for record in bad] == [(2, batch) for batch in range(4, 8)]
    assert not any(record.cured for record in bad)
    assert all(record.nonfinite & Nonfinite.PARAMETER and record.nonfinite & Nonfinite.BUFFER for record in bad)
    assert [event.redone for event in probe.of(EpochEnded)] == [False, True, False, False]
