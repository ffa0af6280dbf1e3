"""Each damage planted in a real checkpoint is found by the child process and told; healthy oddities raise no alarm."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.verify import describe, examine
from tests.harness.torch_names import scaler_on_cpu
from tests.unit.monitor.vault.conftest import Damage, sha256


def test_a_real_checkpoint_is_sound_with_and_without_its_digest(saved: Path) -> None:
    for digest in (None, sha256(saved)):
        found = examine(saved, digest)
        assert (found.verdict, found.reasons) == (Verdict.SOUND, ())
        assert (found.epoch, found.has_optimizer, found.digest) == (2, True, sha256(saved))
        assert found.tensors > 400
        assert 0 < found.seconds < 60


def layers(checkpoint: dict[str, Any]) -> list[torch.nn.BatchNorm2d]:
    return [module for module in checkpoint["ema"].modules() if isinstance(module, torch.nn.BatchNorm2d)]


def zero_batch_norms(checkpoint: dict[str, Any]) -> None:
    for layer in layers(checkpoint):
        layer.running_mean.zero_()
        layer.running_var.zero_()


def zero_one_variance(checkpoint: dict[str, Any]) -> None:
    layers(checkpoint)[3].running_mean.fill_(0.5)
    layers(checkpoint)[3].running_var.zero_()


def negative_variance(checkpoint: dict[str, Any]) -> None:
    layers(checkpoint)[3].running_var[0] = -0.1


def nan_in_a_buffer(checkpoint: dict[str, Any]) -> None:
    layers(checkpoint)[0].running_mean[1] = torch.nan


def nan_in_one_weight(checkpoint: dict[str, Any]) -> None:
    next(checkpoint["ema"].parameters()).data.view(-1)[5] = torch.nan


def infinite_weight(checkpoint: dict[str, Any]) -> None:
    next(checkpoint["ema"].parameters()).data.view(-1)[5] = torch.inf


def zero_ema(checkpoint: dict[str, Any]) -> None:
    for parameter in checkpoint["ema"].parameters():
        parameter.data.zero_()


def nan_in_momentum(checkpoint: dict[str, Any]) -> None:
    next(iter(checkpoint["optimizer"]["state"].values()))["momentum_buffer"].view(-1)[0] = torch.nan


def infinite_loss_scale(checkpoint: dict[str, Any]) -> None:
    checkpoint["scaler"] = scaler_on_cpu().state_dict() | {"scale": float("inf")}


def nan_learning_rate(checkpoint: dict[str, Any]) -> None:
    checkpoint["optimizer"]["param_groups"][1]["lr"] = float("nan")


def use_adam(checkpoint: dict[str, Any], key: str, value: float) -> None:
    """An AdamW's state in the place of the SGD's, with one number changed."""
    ema = checkpoint["ema"].float()
    adam = torch.optim.AdamW(ema.parameters())
    for parameter in ema.parameters():
        parameter.requires_grad_(True)
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    checkpoint["optimizer"] = adam.state_dict()
    checkpoint["optimizer"]["state"][0][key].view(-1)[0] = value
    adam.zero_grad()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (zero_batch_norms, "57 of 57 BatchNorm layers have all-zero running mean and variance"),
        (zero_one_variance, "1 of 57 BatchNorm layers have a running variance that is nowhere above zero"),
        (negative_variance, "1 of 57 BatchNorm layers have a negative running variance"),
        (nan_in_a_buffer, "first ema.model.0.bn.running_mean: 1 of 8 numbers"),
        (nan_in_one_weight, "first ema.model.0.conv.weight: 1 of 216 numbers"),
        (infinite_weight, "first ema.model.0.conv.weight: 1 of 216 numbers"),
        (zero_ema, "weight tensors are all zero, first ema.model.0.conv.weight"),
        (nan_in_momentum, "optimizer tensors, first optimizer.state.0.momentum_buffer: 1 of"),
        (infinite_loss_scale, "the loss scale scaler.scale is inf"),
        (nan_learning_rate, "the optimizer's setting optimizer.param_groups.1.lr is nan"),
        (lambda checkpoint: use_adam(checkpoint, "exp_avg", torch.nan), "first optimizer.state.0.exp_avg: 1 of"),
        (lambda checkpoint: use_adam(checkpoint, "exp_avg_sq", -1.0), "negative running means of squares in 1 of"),
    ],
)
def test_damage_to_the_numbers_is_poison(damage: Damage, expected: str, damaged: Callable[[Damage], Path]) -> None:
    found = examine(damaged(damage), None)
    assert found.verdict is Verdict.POISONED, found
    assert any(expected in reason for reason in found.reasons), found.reasons


def test_a_checkpoint_stripped_by_the_framework_itself_is_sound_and_said_not_to_be_resumable(weights: Path) -> None:
    for name in ("last.pt", "best.pt"):
        found = examine(weights / name, None)
        assert found.verdict is Verdict.SOUND
        assert found.reasons == ("not resumable: the optimizer was stripped",)
        assert not found.has_optimizer


def poison_by_ultralytics_own_save(checkpoint: dict[str, Any]) -> None:
    """What its save_model does to a NaN model: nan_to_num over everything (engine/trainer.py, save_model)."""
    for tensor in [*checkpoint["ema"].parameters(), *checkpoint["ema"].buffers()]:
        if tensor.is_floating_point():
            tensor.data.fill_(torch.nan).nan_to_num_()


def test_what_the_framework_repairs_silently_at_save_is_caught(damaged: Callable[[Damage], Path]) -> None:
    path = damaged(poison_by_ultralytics_own_save)
    assert all(bool(torch.isfinite(one).all()) for one in torch.load(path, weights_only=False)["ema"].parameters())
    assert examine(path, None).verdict is Verdict.POISONED


def flip(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 0x10
    path.write_bytes(data)


def test_one_flipped_bit_of_the_payload_is_caught_without_a_digest(saved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pt"
    shutil.copy(saved, copy)
    with zipfile.ZipFile(copy) as file:
        payloads = [info for info in file.infolist() if "/data/" in info.filename]
    largest = max(payloads, key=lambda info: info.file_size)
    flip(copy, largest.header_offset + largest.file_size // 2)
    assert torch.load(copy, weights_only=False)["epoch"] == 1  # torch.load does not notice
    found = examine(copy, None)
    assert found.verdict is Verdict.UNVERIFIED
    assert "does not match its CRC" in found.reasons[0]


def test_one_flipped_bit_differs_from_the_digest(saved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pt"
    shutil.copy(saved, copy)
    flip(copy, copy.stat().st_size // 2)
    found = examine(copy, sha256(saved))
    assert found.verdict is Verdict.UNVERIFIED
    assert "the bytes differ from those that were saved" in found.reasons[0]


def test_a_hole_of_zeros_is_caught_without_a_digest(saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    middle = len(data) // 2
    assert any(data[middle : middle + 65536])
    data[middle : middle + 65536] = bytes(65536)
    (tmp_path / "hole.pt").write_bytes(data)
    assert examine(tmp_path / "hole.pt", None).verdict is Verdict.UNVERIFIED


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_file_cut_off_is_unverified(share: float, saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    (tmp_path / "torn.pt").write_bytes(data[: int(len(data) * share)])
    found = examine(tmp_path / "torn.pt", None)
    assert found.verdict is Verdict.UNVERIFIED
    assert found.reasons


def a_mask_of_minus_infinity() -> dict[str, Any]:
    return {"attention": torch.ones(4, 4), "mask": torch.full((8, 8), -torch.inf).triu(1)}


def fresh_adapters() -> dict[str, Any]:
    """LoRA: one matrix of each pair starts at zero."""
    return {
        f"{layer}.{part}": torch.full((4, 4), value) for layer in range(4) for part, value in (("a", 0.1), ("b", 0.0))
    }


def a_dead_channel() -> dict[str, Any]:
    """Its variance fell below what float16 can hold."""
    return {"w": torch.ones(2, 2), "bn.running_mean": torch.ones(8), "bn.running_var": torch.tensor([0.0] + [1.0] * 7)}


def zero_biases() -> dict[str, Any]:
    return {"fc.weight": torch.ones(3, 3), "fc.bias": torch.zeros(3), "gamma": torch.zeros(5), "one": torch.zeros(1, 1)}


def fresh_observer() -> dict[str, Any]:
    """torch.ao's min-max observers before their first batch."""
    return {"w": torch.ones(2, 2), "min_val": torch.tensor(torch.inf), "max_val": torch.tensor(-torch.inf)}


def nan_in_a_record_of_losses() -> dict[str, Any]:
    return {"model": {"w": torch.ones(2, 2)}, "metrics": {"loss": torch.tensor([1.0, torch.nan])}, "best": float("nan")}


def lightning() -> dict[str, Any]:
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    states = {"state_dict": layer.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    return {"epoch": 4, "pytorch-lightning_version": "2.5", "callbacks": {"best": torch.tensor(torch.inf)}, **states}


def plain_state_dict() -> dict[str, Any]:
    return dict(torch.nn.Linear(3, 2).state_dict())


def whole_module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


HEALTHY = [a_mask_of_minus_infinity, fresh_adapters, a_dead_channel, zero_biases, fresh_observer]
HEALTHY += [nan_in_a_record_of_losses, lightning, plain_state_dict, whole_module]


@pytest.mark.parametrize("content", HEALTHY)
def test_what_healthy_files_hold_raises_no_alarm(content: Callable[[], Any], tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "healthy.pt")
    found = examine(tmp_path / "healthy.pt", None)
    assert found.verdict is Verdict.SOUND, found


def test_a_lightning_checkpoint_tells_its_epoch_and_optimizer(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "l.ckpt")
    found = examine(tmp_path / "l.ckpt", None)
    assert (found.epoch, found.has_optimizer) == (5, True)


def test_the_description_names_verdict_reasons_and_digest(damaged: Callable[[Damage], Path]) -> None:
    text = describe(examine(damaged(nan_in_one_weight), None))
    assert text.startswith("poisoned: ")
    assert "\n  - NaN or infinity in 1 of" in text
    assert "epoch 2, with optimizer state" in text
    assert "\n  sha256 " in text
