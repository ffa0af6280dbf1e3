"""A training that goes on from a snapshot within an epoch is the one that was never interrupted, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness import plans
from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Ended, Lab, train
from trainer_hooks.wire.messages import HookTrouble, TrainingStarted
from trainer_hooks.wire.runfolder import ENV_PLAN, ENV_SNAPSHOTS, Checkpoint, GroupSettings, Plan, Settings

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
    started = probe.of(TrainingStarted)[0]
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
