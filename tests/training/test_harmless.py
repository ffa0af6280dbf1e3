"""What the hooks must not change: a clean training, bit for bit, and a trainer whose steps are the user's own."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import clip_grad_norm_ as clip_of_my_own

from tests.harness import plans
from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Ended, Faults, Lab, faults_of, train
from trainer_hooks.fail_open import ERRORS_MAX
from trainer_hooks.guard import Guard, StepReport, guard, judge
from trainer_hooks.guard.clipping import HALF
from trainer_hooks.integrations.ultralytics import signals
from trainer_hooks.integrations.ultralytics.loop import Loop
from trainer_hooks.integrations.ultralytics.plan_settings import group_names
from trainer_hooks.parameter_groups import GroupReader
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.updates import ENV_EVERY
from trainer_hooks.wire.messages import HookTrouble, OrderApplied, SettingChanged

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]


def weights_of(ended: Ended) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = ended.trainer.model.state_dict()
    return state


@pytest.mark.parametrize("scaler", [False, True], ids=["no scaler", "scaler"])
def test_a_clean_training_is_bit_for_bit_the_same_with_and_without_hooks(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, scaler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several guard backups fall into it: 24 optimizer steps, and one with each 20; and samples of the updates."""
    monkeypatch.setenv(ENV_EVERY, "5")
    plain = train(lab.arguments(tmp_path / "plain"), lab.model, None, Faults(scaler=scaler))
    hooked = train(lab.arguments(tmp_path / "hooked"), lab.model, probe, Faults(scaler=scaler))
    assert "partial" not in repr(plain.trainer.preprocess_batch), "the plain training was watched"
    assert len(plain.losses) == 3 * lab.batches == len(probe.batches)
    assert plain.losses == hooked.losses == [record.loss for record in probe.batches]
    ratios = [record.update_ratio for record in probe.batches if record.update_ratio is not None]
    assert len(ratios) >= 4
    assert all(1e-6 < ratio < 1.0 for ratio in ratios)
    ours, theirs = weights_of(hooked), weights_of(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    averages = hooked.trainer.ema.ema.state_dict(), plain.trainer.ema.ema.state_dict()
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[1])
    assert [row.keys() for row in hooked.csv] == [row.keys() for row in plain.csv]
    assert probe.of(HookTrouble) == []
    assert not any(record.nonfinite for record in probe.batches)


def with_own_step() -> type:
    """The documented recipe for another clip value, as a subclass of the trainer."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class OwnStep(DetectionTrainer):  # type: ignore[misc]
        own_steps = 0

        def optimizer_step(self) -> None:
            self.own_steps += 1
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=3.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
            self.ema.update(self.model)

    return OwnStep


def with_own_reference() -> type:
    """Another user's step, who imported the function by name before anybody could wrap it."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class OwnReference(DetectionTrainer):  # type: ignore[misc]
        own_steps = 0

        def optimizer_step(self) -> None:
            self.own_steps += 1
            clip_of_my_own(self.model.parameters(), max_norm=3.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.ema.update(self.model)

    return OwnReference


@pytest.mark.parametrize("subclass", [with_own_step, with_own_reference])
def test_a_users_own_optimizer_step_keeps_working_and_is_guarded(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, subclass: Any
) -> None:
    faults = Faults(pixels={(2, 4)})
    ended = train(lab.arguments(tmp_path), lab.model, probe, faults, trainer=subclass())
    assert ended.error is None
    assert ended.trainer.own_steps == 3 * lab.batches
    assert faults.fired == [(2, 4)]
    assert faults_of(ended.trainer.last) == []
    (bad,) = [record for record in probe.batches if record.nonfinite]
    assert (bad.skipped_by, bad.cured) == ("guard", True)
    assert all(record.grad_norm is not None for record in probe.batches)
    clip = {record.clip_norm for record in probe.batches}
    seen = subclass is with_own_step or hasattr(torch.nn.utils.clip_grad, HALF)  # older torch: only by its public name
    assert clip == ({3.0} if seen else {None})


def test_a_receipt_that_cant_be_written_does_not_stop_the_training(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    probe.unwritable = True
    probe.orders[3] = plans.order("stop")
    ended = train(lab.arguments(tmp_path, epochs=1), lab.model, probe)
    assert ended.error is None
    assert probe.of(OrderApplied) == []
    assert [trouble.hook for trouble in probe.of(HookTrouble)] == ["on_train_batch_end"]
    assert len(probe.batches) == lab.batches


def test_hooks_that_break_are_switched_off_and_training_goes_on(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    """A trainer without loss items: every batch's hook fails, the third failure is the last."""
    whole = []

    def spoil(trainer: Any) -> None:
        whole.append(trainer.loss_items)
        trainer.loss_items = {"broken": "no number"}

    def mend(trainer: Any) -> None:  # the validator wants them too
        trainer.loss_items = whole[-1]

    spoilers = {"on_train_batch_end": spoil, "on_train_epoch_end": mend}
    ended = train(lab.arguments(tmp_path, epochs=2), lab.model, probe, callbacks=spoilers)
    assert ended.error is None
    assert len(ended.losses) == 2 * lab.batches
    troubles = [trouble for trouble in probe.of(HookTrouble) if trouble.hook == "batch"]
    assert [trouble.switched_off for trouble in troubles] == [False, False, True]
    assert probe.batches == []


@pytest.mark.parametrize(
    ("hook", "owner", "name"),
    [
        ("on_train_batch_start", Loop, "batch_began"),
        ("batch contents", signals, "contents_before"),
        ("batch contents", signals, "contents_after"),
        ("guard enter", Guard, "enter"),
        ("guard average", Guard, "_may_update"),
        ("ramp", GroupReader, "read"),
        ("batch", Recorder, "record"),
    ],
)
def test_whatever_breaks_in_every_batch_is_tried_three_times_and_the_weights_are_the_same(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, owner: Any, name: str
) -> None:
    """These are not run by FailOpen.run."""
    alone = train(lab.arguments(tmp_path / "alone", epochs=2), lab.model, None)
    calls = 0

    def broken(*_: Any, **__: Any) -> None:
        nonlocal calls
        calls += 1
        raise ValueError(f"call {calls}")

    monkeypatch.setattr(owner, name, broken)
    ended = train(lab.arguments(tmp_path / "ours", epochs=2), lab.model, probe)
    assert ended.error is None
    troubles = [trouble for trouble in probe.of(HookTrouble) if trouble.hook == hook]
    assert [trouble.switched_off for trouble in troubles] == [False, False, True]
    assert calls == ERRORS_MAX * (2 if name == "read" else 1), "the end of a batch reads the settings too"
    assert all(torch.equal(tensor, weights_of(ended)[key]) for key, tensor in weights_of(alone).items())


class Unwritable(StepReport):
    """Takes no limit of a clip."""

    __slots__ = ("refused",)
    times = 0

    @property  # type: ignore[override]
    def clip_norm(self) -> float | None:
        return None

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        if value is not None:
            type(self).times += 1
            raise ValueError("no")


def test_so_is_what_notes_the_norm_of_a_clip(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = train(lab.arguments(tmp_path / "alone", epochs=2), lab.model, None)
    monkeypatch.setattr(judge, "StepReport", Unwritable)
    monkeypatch.setattr(guard, "StepReport", Unwritable)
    ended = train(lab.arguments(tmp_path / "ours", epochs=2), lab.model, probe)
    assert ended.error is None
    assert [trouble.hook for trouble in probe.of(HookTrouble)] == 3 * ["guard clip"]
    assert Unwritable.times == ERRORS_MAX
    assert all(torch.equal(tensor, weights_of(ended)[key]) for key, tensor in weights_of(alone).items())
    assert all(record.grad_norm is not None for record in probe.batches), "the step itself is still looked at"


def test_a_setting_that_the_user_changes_in_mid_training_is_told(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    """128 small batches, since the warm-up of older releases lasts at least 100."""

    def meddle(trainer: Any, place: tuple[int, int]) -> None:
        if place == (4, 10):
            groups = dict(zip(group_names(trainer.optimizer), trainer.optimizer.param_groups, strict=True))
            for group in groups.values():
                group["lr"] *= 0.5
            groups["weight"]["weight_decay"] = 0.01

    arguments = lab.arguments(tmp_path, epochs=4, batch=2, nbs=2)
    train(arguments, lab.model, probe, Faults(at_batch_end=meddle))
    told = {(change.name, change.reason) for change in probe.of(SettingChanged)}
    assert ("weight_decay/weight", "") in told
    assert ("learning_rate/bias", "") in told
    assert ("warm-up", "warm-up ended") in told


def test_callbacks_survive_pickling_before_and_during_a_training(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    copies = []

    def copy(trainer: Any) -> None:
        hooks = {event: listed[-1] for event, listed in trainer.callbacks.items() if listed}
        copies.append(pickle.loads(pickle.dumps(hooks["on_fit_epoch_end"])))

    ended = train(lab.arguments(tmp_path, epochs=1), lab.model, probe, callbacks={"on_train_epoch_end": copy})
    assert ended.error is None
    assert [copied.event for copied in copies] == ["on_fit_epoch_end"]
    assert math.isfinite(ended.losses[-1])
