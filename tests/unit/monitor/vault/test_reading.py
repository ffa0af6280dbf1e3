"""What is read without torch is what torch.load reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.contents import Contents, read_contents
from monitor.vault.inert import UnreadableError
from monitor.vault.problems import judge
from monitor.vault.tensors import Tensor
from monitor.vault.verify import examine, run_child
from tests.harness.torch_names import dtype
from tests.unit.monitor.vault.conftest import sha256
from tests.unit.monitor.vault.crafted import archive, safetensors


def read(path: Path) -> Contents:
    with path.open("rb") as file:
        return read_contents(file)


def named(checkpoint: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer of the EMA and every tensor of the optimizer's state, as we name them."""
    ema = checkpoint["ema"]
    yield from ((f"ema.{name}", tensor) for name, tensor in [*ema.named_parameters(), *ema.named_buffers()])
    for index, state in checkpoint["optimizer"]["state"].items():
        yield from ((f"optimizer.state.{index}.{key}", value) for key, value in state.items() if torch.is_tensor(value))


def values(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.sort(np.concatenate([*tensor.chunks(), np.empty(0)]).astype(np.float64))


def test_every_tensor_of_a_real_checkpoint_is_found_with_its_shape_and_values(saved: Path) -> None:
    contents = read(saved)
    mine = {tensor.name: tensor for tensor in contents.tensors}
    theirs = dict(named(torch.load(saved, weights_only=False)))
    assert len(theirs) > 400
    assert contents.unreadable == ()
    for name, tensor in theirs.items():
        assert mine[name].shape == tuple(tensor.shape), name
        assert mine[name].dtype.name == str(tensor.dtype).removeprefix("torch."), name
        if tensor.is_floating_point():
            assert np.array_equal(values(mine[name]), np.sort(tensor.double().flatten().numpy())), name


def test_parameters_are_told_from_buffers(saved: Path) -> None:
    parameters = {tensor.name for tensor in read(saved).tensors if tensor.is_parameter}
    assert parameters == {f"ema.{name}" for name, _ in torch.load(saved, weights_only=False)["ema"].named_parameters()}


def test_a_real_checkpoint_has_no_fault_and_its_epoch_counts_from_one(saved: Path) -> None:
    findings = judge(read(saved))
    assert findings.faults == ()
    assert findings.epoch == torch.load(saved, weights_only=False)["epoch"] + 1 == 2
    assert findings.has_optimizer
    assert not findings.stripped


FLOATS = ["float64", "float32", "float16", "bfloat16", "complex64", "complex128"]
SMALL = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]


@pytest.mark.parametrize("name", FLOATS + SMALL)
def test_each_float_format_is_decoded_as_torch_decodes_it(name: str, tmp_path: Path) -> None:
    expected_type = dtype(name)
    bits = torch.arange(256, dtype=torch.uint8) if name in SMALL else torch.randint(0, 256, (4096,), dtype=torch.uint8)
    bits[-16:] = 255  # NaN in every format but one, whose code for it is 128
    bits[0] = 128
    original = bits.view(expected_type)
    torch.save({"model": {"w": original.reshape(2, -1)}}, tmp_path / "w.pt")
    (tensor,) = read(tmp_path / "w.pt").tensors
    wide = torch.view_as_real(original).flatten() if original.is_complex() else original
    expected = wide.double().flatten().numpy()
    with np.errstate(invalid="ignore"):  # random bits hold signalling NaN
        got = np.concatenate(list(tensor.chunks())).astype(np.float64)
    assert np.array_equal(got, expected, equal_nan=True)
    assert "NaN or infinity" in judge(read(tmp_path / "w.pt")).faults[0]


@pytest.mark.parametrize("name", ["int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool"])
def test_whole_numbers_are_read_and_not_judged(name: str, tmp_path: Path) -> None:
    torch.save({"model": {"steps": torch.ones(4, 2).to(dtype(name)), "w": torch.ones(2, 2)}}, tmp_path / "w.pt")
    contents = read(tmp_path / "w.pt")
    assert [tensor.dtype.name for tensor in contents.tensors] == [name, "float32"]
    assert judge(contents).faults == ()


def test_views_are_read_within_their_own_elements(tmp_path: Path) -> None:
    """A NaN in the storage beside the view is no NaN of the tensor; one inside a strided view is."""
    base = torch.arange(100.0).reshape(10, 10)
    base[0, 0] = torch.nan
    base[5, 4] = torch.nan
    torch.save(
        {"even": base[1:, ::2], "odd": base[1:, 1::2], "turned": base[6:, :].t(), "wide": base[1, 1].expand(1000)},
        tmp_path / "v.pt",
    )
    contents = read(tmp_path / "v.pt")
    bad = {tensor.name for tensor in contents.tensors if not np.isfinite(values(tensor)).all()}
    assert contents.unreadable == ()
    assert bad == {"even"}


def test_shared_and_endless_containers_are_walked_once(tmp_path: Path) -> None:
    weight = torch.ones(3, 3)
    endless: dict[str, Any] = {"a": weight, "b": weight}
    endless["self"] = endless
    torch.save(endless, tmp_path / "e.pt")
    assert [tensor.name for tensor in read(tmp_path / "e.pt").tensors] == ["a"]


@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("torchscript", "holds code"),
        ("sparse", "_rebuild_sparse_tensor"),
        ("quantized", "_rebuild_qtensor"),
        ("empty", "is empty"),
        ("text", "neither a torch archive nor"),
    ],
)
def test_what_is_not_read_says_so(kind: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    if kind == "torchscript":
        path.write_bytes(archive(b"N.", {"constants.pkl": b"N."}))
    elif kind == "sparse":
        torch.save({"w": torch.eye(3).to_sparse()}, path)
    elif kind == "quantized":
        torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)
    else:
        path.write_bytes(b"" if kind == "empty" else b"not a checkpoint at all")
    try:
        reasons = read(path).unreadable
    except UnreadableError as error:
        reasons = (str(error),)
    assert reasons
    assert expected in " ".join(reasons)


def test_safetensors_are_read_and_judged_without_their_package(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [16, 24]},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "none": {"dtype": "F32", "shape": [0], "data_offsets": [24, 24]},
    }
    payload = np.arange(4, dtype="<f4").tobytes() + bytes.fromhex("803f 803f 803f c07f")
    (tmp_path / "m.safetensors").write_bytes(safetensors(header, payload))
    contents = read(tmp_path / "m.safetensors")
    assert [(tensor.name, tensor.shape) for tensor in contents.tensors] == [
        ("a", (2, 2)),
        ("b", (2, 2)),
        ("none", (0,)),
    ]
    assert list(next(contents.tensors[0].chunks())) == [0, 1, 2, 3]
    assert judge(contents).faults == ("NaN or infinity in 1 of 3 weight and buffer tensors, first b: 1 of 4 numbers",)


def test_the_shortest_file_of_safetensors_is_one_and_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"\x02" + bytes(7) + b"{}")
    assert read(path).tensors == ()
    path.write_bytes(b"\x01" + bytes(7) + b"{")
    with pytest.raises(UnreadableError, match="neither a torch archive nor a safetensors file"):
        read(path)


def test_safetensors_without_a_digest_say_that_nothing_vouches_for_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)))
    assert "no checksum" in examine(path, None).reasons[0]
    assert examine(path, sha256(path)).reasons == ()


def test_an_examination_that_cannot_be_started_leaves_the_file_unverified_and_says_why(tmp_path: Path) -> None:
    found = run_child([str(tmp_path / "no-such-program")], 5.0)
    assert found.verdict is Verdict.UNVERIFIED
    assert found.reasons == ("the examination could not be started: No such file or directory",)
