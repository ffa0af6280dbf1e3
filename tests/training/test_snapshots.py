"""A training that goes on from a snapshot within an epoch is the one that was never interrupted, bit for bit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness import plans
from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Ended, Faults, Lab, Place, train
from trainer_hooks.wire.messages import HookTrouble, Order, OrderApplied, TrainingStarted
from trainer_hooks.wire.plan import Checkpoint, GroupSettings, Plan, Settings
from trainer_hooks.wire.runfolder import ENV_PLAN, ENV_SNAPSHOTS

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

CLIP = 10.0  # Ultralytics' own


def uninterrupted(lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Ended:
    """With a snapshot after every batch that is fit for one."""
    monkeypatch.setenv(ENV_SNAPSHOTS, "1e-6")
    monkeypatch.setattr("trainer_hooks.snapshots.due.SHARE_MAX", 1e9)
    root = folder / "first"
    root.mkdir()
    ended = train(lab.arguments(root, **overrides), lab.model, RecordingProbe(root))
    assert ended.error is None
    monkeypatch.delenv(ENV_SNAPSHOTS)
    return ended


def as_it_was(started: TrainingStarted) -> Settings:
    """The training's own settings: what a start after a crash uses."""
    groups = zip(started.group_names, started.group_rates, started.base_weight_decays, strict=True)
    given = started.settings
    return Settings(
        groups=tuple(GroupSettings(name=name, base_rate=r, rate_max=None, weight_decay=d) for name, r, d in groups),
        clip_norm=CLIP,
        momentum=float(given["momentum"]),
        ramp_batches=0,
        warmup_epochs=float(given["warmup_epochs"]),
        learning_rate=float(given["lr0"]),
        weight_decay=float(given["weight_decay"]),
    )


def plan_at(ended: Ended, epoch: int, batches: int, folder: Path, **changes: Any) -> Plan:
    """To go on after so many batches of the epoch that follows `epoch`."""
    probe = ended.probe
    path, save, copy = next(s for s in probe.snapshots if (s[1].epoch, s[1].extra_batches) == (epoch, batches))
    below = None
    if epoch:
        below = plans.checkpoint(folder, probe.checkpoints[epoch - 1]["bytes"], epoch)
    started = probe.of(TrainingStarted)[-1]
    known = {
        "checkpoint": below,
        "snapshot": Checkpoint(path=str(path), digest=copy.digest, epoch=save.epoch, extra_batches=batches),
        "start_epoch": epoch + 1,
        "save_dir": started.save_dir,
        "arguments_digest": started.arguments_digest,
        "settings": as_it_was(started),
        "replay": True,
        "own_settings": True,
    }
    return plans.plan(**known | changes)


def go_on(lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan, **overrides: Any) -> Ended:
    root = folder / "second"
    root.mkdir()
    monkeypatch.setenv(ENV_PLAN, str(plans.write(root, plan)))
    return train(lab.arguments(folder / "first", **overrides), lab.model, RecordingProbe(root))


def weights(ended: Ended) -> dict[str, torch.Tensor]:
    assert ended.error is None
    average = ended.trainer.ema.ema
    return {**dict(ended.trainer.model.state_dict()), **{f"ema.{k}": v for k, v in average.state_dict().items()}}


def assert_equal(here: dict[str, torch.Tensor], there: dict[str, torch.Tensor]) -> None:
    different = [name for name, tensor in here.items() if not torch.equal(tensor, there[name])]
    assert not different, f"{len(different)} of {len(here)} differ, the first: {different[0]}"


ACCUMULATES = {"nbs": 24, "close_mosaic": 1, "warmup_epochs": 2}


@pytest.mark.parametrize(
    ("epoch", "batches", "overrides"),
    [
        pytest.param(1, 3, {}, id="SGD"),
        pytest.param(0, 5, {"optimizer": "AdamW", "mosaic": 0.0}, id="AdamW in the first epoch"),
        pytest.param(0, 5, ACCUMULATES, id="accumulation in a warm-up"),
        pytest.param(2, 7, ACCUMULATES, id="a mosaic that is closed"),
    ],
)
def test_it_ends_with_the_same_weights(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, batches: int, overrides: dict[str, Any]
) -> None:
    first = uninterrupted(lab, tmp_path, monkeypatch, **overrides)
    held = [s for s in first.probe.snapshots if s[1].epoch == epoch and s[1].extra_batches <= batches]
    expected, taken = weights(first), held[-1][1].extra_batches
    second = go_on(lab, tmp_path, monkeypatch, plan_at(first, epoch, taken, tmp_path), **overrides)
    assert not second.probe.of(HookTrouble)
    records = second.probe.batches
    assert (records[0].epoch, records[0].batch) == (epoch + 1, taken)
    assert len(records) == 3 * lab.batches - epoch * lab.batches - taken
    before = {(r.epoch, r.batch): r.loss for r in first.probe.batches}
    assert [r.loss for r in records] == [before[r.epoch, r.batch] for r in records]
    assert_equal(expected, weights(second))


class GoesBack(RecordingProbe):
    """Orders once, after so many batches, to go back to the first snapshot that holds these epochs and batches."""

    def __init__(self, root: Path, after: int, holds: tuple[int, int], **changes: Any) -> None:
        super().__init__(root)
        self.after, self.holds, self.changes = after, holds, changes

    def order(self) -> Order | None:
        if len(self.batches) != self.after:
            return None
        self.after = -1
        path, save, copy = next(s for s in self.snapshots if (s[1].epoch, s[1].extra_batches) >= self.holds)
        started = self.of(TrainingStarted)[-1]
        state = Checkpoint(path=str(path), digest=copy.digest, epoch=save.epoch, extra_batches=save.extra_batches)
        saved = plans.checkpoint(self.root, self.checkpoints[save.epoch - 1]["bytes"]) if save.epoch else None
        known = {
            "snapshot": state,
            "checkpoint": saved,
            "best": saved,
            "start_epoch": save.epoch + 1,
            "settings": as_it_was(started),
            "save_dir": started.save_dir,
            "in_process": True,
        }
        plans.write(self.root, plans.plan(**known | self.changes), "adjust-order-1.json")
        return plans.order("go_back", "adjust-order-1.json")


def train_and_go_back(
    lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch, probe: GoesBack, faults: Faults | None = None, **more: Any
) -> Ended:
    monkeypatch.setenv(ENV_SNAPSHOTS, "1e-6")
    monkeypatch.setattr("trainer_hooks.snapshots.due.SHARE_MAX", 1e9)
    return train(lab.arguments(folder / "back", **more), lab.model, probe, faults)


@pytest.mark.parametrize(
    ("after", "holds", "overrides"),
    [
        pytest.param(13, (1, 2), {}, id="within the epoch"),
        pytest.param(19, (1, 2), {"optimizer": "AdamW"}, id="over the end of an epoch"),
        pytest.param(6, (0, 2), {"nbs": 24, "warmup_epochs": 2}, id="in the first epoch, in a warm-up"),
        pytest.param(19, (1, 2), {"close_mosaic": 1}, id="over the closing of mosaic"),
    ],
)
def test_a_ruined_training_goes_back_in_its_process_and_ends_as_if_nothing_had_happened(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    holds: tuple[int, int],
    overrides: dict[str, Any],
) -> None:
    expected = weights(uninterrupted(lab, tmp_path, monkeypatch, **overrides))
    probe = GoesBack(tmp_path, after, holds, replay=True, own_settings=True)
    starts: list[int] = []

    def ruin(trainer: Any, place: Place) -> None:
        starts.append(id(trainer))
        if len(probe.batches) == after - 1 and probe.after == after:
            with torch.no_grad():
                for parameter in [*trainer.model.parameters(), *trainer.ema.ema.parameters()]:
                    parameter.fill_(float("nan"))

    again = train_and_go_back(lab, tmp_path, monkeypatch, probe, Faults(at_batch_end=ruin), **overrides)
    (answer,) = probe.of(OrderApplied)
    assert answer.outcome == "applied", answer.detail
    assert_equal(expected, weights(again))
    assert len(set(starts)) == 1, "another trainer was built"
    assert {started.start_epoch for started in probe.of(TrainingStarted)} == {1}
    assert [row["epoch"] for row in again.csv] == [1, 2, 3]
    assert vars(again.trainer).keys().isdisjoint({"_do_train", "_setup_train", "run_callbacks"})
    assert again.trainer.start_epoch == 0


def with_yolo26(lab: Lab, folder: Path) -> Lab:
    """The same data, and a tiny model whose loss has weights that follow the epochs."""
    import ultralytics

    yaml = Path(ultralytics.__file__).parent / "cfg/models/26/yolo26.yaml"
    if not yaml.exists():
        pytest.skip("this release has no YOLO26")
    model = folder / "yolo26n-tiny.yaml"
    model.write_text(re.sub(r"(\n  n: \[[\d.]+), [\d.]+, \d+\]", r"\1, 0.125, 256]", yaml.read_text()))
    return replace(lab, model=model)


def test_the_weights_of_a_loss_that_follow_the_epochs_go_back_too(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = with_yolo26(lab, tmp_path)
    expected = weights(uninterrupted(lab, tmp_path, monkeypatch, epochs=2))
    probe = GoesBack(tmp_path, lab.batches + 2, (0, 5), replay=True, own_settings=True)
    ended = train_and_go_back(lab, tmp_path, monkeypatch, probe, epochs=2)
    (answer,) = probe.of(OrderApplied)
    assert answer.outcome == "applied", answer.detail
    assert ended.trainer.model.criterion.updates == 2, "it has a schedule"
    assert_equal(expected, weights(ended))


class OwnMosaic:
    """A script whose data set closes mosaic in a way of its own."""

    def __call__(self, trainer: Any) -> None:
        dataset = trainer.train_loader.dataset
        own = type("OwnDataset", (type(dataset),), {"close_mosaic": lambda self, hyp: None})
        own.close_mosaic.__module__ = "train"
        dataset.__class__ = own


class Halved(Faults):
    """The GPU's memory is full in the second batch, so that Ultralytics goes on with half the batch size."""

    def _set_up(self, trainer: Any) -> None:
        super()._set_up(trainer)
        prepare = trainer.preprocess_batch

        def full(batch: dict[str, Any]) -> dict[str, Any]:
            if self.place == (1, 1) and not self.fired:
                self.fired.append(self.place)
                raise RuntimeError("CUDA out of memory")
            prepared: dict[str, Any] = prepare(batch)
            return prepared

        trainer.preprocess_batch = full


def test_a_state_from_before_mosaic_was_closed_is_refused_where_the_script_closes_it_in_its_own_way(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = GoesBack(tmp_path, 19, (1, 2))
    faults = Faults(at_batch_end=lambda trainer, place: OwnMosaic()(trainer) if place == (1, 0) else None)
    ended = train_and_go_back(lab, tmp_path, monkeypatch, probe, faults, close_mosaic=1)
    (answer,) = probe.of(OrderApplied)
    assert (answer.outcome, ended.error) == ("refused", None)
    assert "mosaic was closed at epoch 3, and this data set can't open it again" in answer.detail
    assert len(probe.batches) == 3 * lab.batches


@pytest.mark.parametrize(("after", "holds"), [(6, (0, 1)), (22, (0, 6))], ids=["before", "after"])
def test_where_the_batch_size_was_halved_no_state_is_gone_back_to_in_the_process(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, holds: tuple[int, int]
) -> None:
    """Whether the state was saved before that or after."""
    probe, faults = GoesBack(tmp_path, after, holds), Halved()
    ended = train_and_go_back(lab, tmp_path, monkeypatch, probe, faults, epochs=2)
    if not hasattr(ended.trainer, "_oom_retries"):
        pytest.skip("this release does not halve its batch size")
    assert (ended.error, faults.fired) == (None, [(1, 1)])
    (answer,) = probe.of(OrderApplied)
    assert (answer.outcome, answer.detail) == ("refused", "the batch size is 4 now, it was 8")
    assert len(probe.batches) == 1 + 2 * 2 * lab.batches


def test_a_snapshot_whose_file_was_changed_since_is_refused(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Checkpoint(path=str(tmp_path / "snapshot-0.pt"), digest="0" * 64, epoch=0, extra_batches=1)
    probe = GoesBack(tmp_path, 5, (0, 1), snapshot=wrong)
    train_and_go_back(lab, tmp_path, monkeypatch, probe, epochs=1)
    (answer,) = probe.of(OrderApplied)
    assert answer.outcome == "refused"
    assert "the plan says 0000" in answer.detail


class OwnRecovery:
    """Fills the weights with NaN after the fifth batch of the second epoch, which Ultralytics trains anew itself."""

    def __init__(self, lab: Lab) -> None:
        self.at, self.fired = lab.batches + 5, False
        self.faults = Faults(at_batch_end=self._ruin)
        self.seen = 0

    def _ruin(self, trainer: Any, place: Place) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.fired = True
            trainer.best_fitness = 0.1  # older releases recover only where the fitness falls to zero from above
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    parameter.fill_(float("nan"))


@pytest.mark.parametrize(
    ("after", "holds", "outcome"),
    [
        pytest.param(6, (1, 2), "applied", id="before its own recovery"),
        pytest.param(11, (1, 2), "declined", id="after its own recovery"),
        pytest.param(9, (1, 4), "applied", id="after it, to a snapshot ahead of it"),
    ],
)
def test_an_order_that_comes_after_the_trainer_s_own_recovery_takes_nothing_away(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, holds: tuple[int, int], outcome: str
) -> None:
    probe = GoesBack(tmp_path, lab.batches + after, holds, for_nonfinite=True)
    own = OwnRecovery(lab)
    ended = train_and_go_back(lab, tmp_path, monkeypatch, probe, own.faults)
    assert (ended.error, own.fired) == (None, True)
    (answer,) = probe.of(OrderApplied)
    assert answer.outcome == outcome, answer.detail
    assert own.faults.redone == ([2] if after > lab.batches else [])
    assert all(torch.isfinite(tensor).all() for tensor in weights(ended).values())
    extra = {"applied": 4, "declined": lab.batches}[outcome]
    if outcome == "declined":
        assert "so are the last 3 batches" in answer.detail
        assert len(probe.batches) == (3 * lab.batches) + extra
