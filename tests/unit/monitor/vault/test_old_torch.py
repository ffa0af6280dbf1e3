"""Files as torch.save wrote them before 1.6 are read and judged like the others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.contents import read_contents
from monitor.vault.verify import describe
from tests.unit.monitor.vault.conftest import examined
from tests.unit.monitor.vault.crafted import called, text


def save(content: Any, path: Path, protocol: int = 2) -> bytes:
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def model() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def checkpoint() -> dict[str, Any]:
    layers = model()
    return {"epoch": 3, "model": layers.state_dict(), "optimizer": torch.optim.Adam(layers.parameters()).state_dict()}


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_old_file_is_sound_and_its_numbers_are_those_of_torch(protocol: int, tmp_path: Path) -> None:
    content = checkpoint()
    content["model"]["half"] = torch.arange(6).half().reshape(2, 3).t()
    content["model"]["part"] = torch.arange(10.0)[3:5]
    save(content, tmp_path / "x.pth", protocol)
    found = examined(tmp_path / "x.pth")
    assert found.verdict is Verdict.SOUND, found
    assert found.has_optimizer
    assert "no checksum" in found.reasons[0]
    with (tmp_path / "x.pth").open("rb") as file:
        read = {tensor.name: tensor for tensor in read_contents(file).tensors}
    for name, tensor in content["model"].items():
        assert sorted(read[f"model.{name}"].raw.flatten().tolist()) == sorted(tensor.flatten().tolist()), name


def test_a_whole_module_of_an_old_file_is_sound(tmp_path: Path) -> None:
    """Old files name the class of each module with its source."""
    save({"model": model()}, tmp_path / "x.pth")
    assert examined(tmp_path / "x.pth").verdict is Verdict.SOUND


def test_a_nan_in_an_old_file_is_found(tmp_path: Path) -> None:
    content = checkpoint()
    content["model"]["0.weight"][1, 1] = torch.nan
    save(content, tmp_path / "x.pth")
    found = examined(tmp_path / "x.pth")
    assert found.verdict is Verdict.POISONED
    assert "first model.0.weight: 1 of 6 numbers" in describe(found)


def test_what_an_old_file_would_run_is_named(tmp_path: Path) -> None:
    data = save({"w": torch.ones(2, 2)}, tmp_path / "x.pth")
    at = data.index(b"\x80\x02}q\x00X\x01\x00\x00\x00w")
    evil = b"\x80\x02" + called("commands", "getoutput", text(f"touch {tmp_path / 'ran'}")) + b"0"
    (tmp_path / "x.pth").write_bytes(data[:at] + evil + data[at + 2 :])
    assert torch.load(tmp_path / "x.pth", weights_only=False)["w"].sum() == 4  # the file works ...
    (tmp_path / "ran").unlink()  # ... and has run it
    found = examined(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()
    assert (found.verdict, found.numbers) == (Verdict.UNVERIFIED, Verdict.SOUND)
    assert "subprocess.getoutput" in found.loading[0]


def cut(data: bytes) -> bytes:
    return data[:-5]


def longer(data: bytes) -> bytes:
    return data + b"x"


def other_protocol(data: bytes) -> bytes:
    return data.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2), 1)


def big_endian(data: bytes) -> bytes:
    return data.replace(b"little_endian", b"little_endiaN", 1)


def tar_as_well(data: bytes) -> bytes:
    """Torch looks for a tar archive first: a file that is both would be loaded from the tar's own pickle."""
    block = bytearray(data[:512].ljust(512, b"\0"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


def huge_storage(data: bytes) -> bytes:
    at = data.rindex((4).to_bytes(8, "little"))
    return data[:at] + (2**60).to_bytes(8, "little") + data[at + 8 :]


def negative_storage(data: bytes) -> bytes:
    at = data.rindex((4).to_bytes(8, "little"))
    return data[:at] + (-4).to_bytes(8, "little", signed=True) + data[at + 8 :]


@pytest.mark.parametrize(
    "damage", [cut, longer, other_protocol, big_endian, huge_storage, negative_storage, tar_as_well]
)
def test_a_damaged_old_file_is_unverified(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data = save({"w": torch.ones(2, 2)}, tmp_path / "x.pth")
    assert damage(data) != data
    (tmp_path / "x.pth").write_bytes(damage(data))
    found = examined(tmp_path / "x.pth")
    assert found.verdict is Verdict.UNVERIFIED


def test_an_old_file_cut_anywhere_is_unverified(tmp_path: Path) -> None:
    data = save(checkpoint(), tmp_path / "x.pth")
    for at in range(1, len(data), max(1, len(data) // 40)):
        (tmp_path / "x.pth").write_bytes(data[:at])
        found = examined(tmp_path / "x.pth")
        assert found.verdict is Verdict.UNVERIFIED, at
