"""`trainwarden verify`: exit codes that a script can go by."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from monitor.cli import execute
from monitor.core.model import Verdict
from monitor.vault.verify import Examination


def saved(path: Path, weight: torch.Tensor) -> str:
    torch.save(OrderedDict([("layer.weight", weight), ("layer.bias", torch.zeros(4))]), path)
    return str(path)


def test_a_sound_file_is_told_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", saved(tmp_path / "good.pt", torch.ones(4, 4))]) == 0
    assert capsys.readouterr().out.startswith("sound: 2 tensors")


def test_a_poisoned_file_names_the_tensor_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weight = torch.ones(4, 4)
    weight[2, 3] = float("nan")
    assert execute(["verify", saved(tmp_path / "bad.pt", weight)]) == 1
    assert "layer.weight" in capsys.readouterr().out


def test_a_file_that_is_no_checkpoint_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "last.pt"
    file.write_bytes(b"not a checkpoint")
    assert execute(["verify", str(file)]) == 2
    assert capsys.readouterr().out.startswith("unverified")


def test_a_wrong_digest_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", saved(tmp_path / "good.pt", torch.ones(4, 4)), "--digest", "0" * 64]) == 2
    assert "differ" in capsys.readouterr().out
    assert execute(["verify", saved(tmp_path / "good.pt", torch.ones(4, 4)), "--digest", "ab"]) == 2
    assert "expected ab)" in capsys.readouterr().out


def test_json_is_the_whole_examination(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", "--json", saved(tmp_path / "good.pt", torch.ones(4, 4))]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Examination)
    assert (found.verdict, found.tensors) == (Verdict.SOUND, 2)


def test_a_folder_is_no_checkpoint_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", str(tmp_path)]) == 2
    assert "can't be read (Is a directory)" in capsys.readouterr().err


def trainer_folder(folder: Path) -> Path:
    """As the Trainer of Hugging Face writes a checkpoint: weights in parts, and the optimizer in a file of its own."""
    folder.mkdir()
    layer = torch.nn.Linear(4, 4)
    for number, (name, tensor) in enumerate(layer.state_dict().items(), 1):
        torch.save({name: tensor}, folder / f"pytorch_model-0000{number}-of-00002.bin")
    torch.save(torch.optim.Adam(layer.parameters()).state_dict(), folder / "optimizer.pt")
    torch.save({"base_lrs": [0.1], "last_epoch": 3}, folder / "scheduler.pt")
    index = {"weight": "pytorch_model-00001-of-00002.bin", "bias": "pytorch_model-00002-of-00002.bin"}
    (folder / "pytorch_model.bin.index.json").write_bytes(msgspec.json.encode({"metadata": {}, "weight_map": index}))
    return folder


def test_a_folder_of_checkpoint_files_is_checked_file_by_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trainer_folder(tmp_path / "checkpoint-500")
    assert execute(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.count(": sound: ") == 4
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    assert execute(["verify", str(folder)]) == 2
    assert "the file is missing: pytorch_model.bin.index.json lists it" in capsys.readouterr().out
    torch.save({"bias": torch.full((4,), torch.nan)}, folder / "pytorch_model-00002-of-00002.bin")
    assert execute(["verify", str(folder)]) == 1
    assert execute(["verify", "--json", str(folder)]) == 1
    found = msgspec.json.decode(capsys.readouterr().out.splitlines()[-1], type=dict[str, Examination])
    assert found["pytorch_model-00002-of-00002.bin"].verdict is Verdict.POISONED


def test_a_folder_without_weights_is_not_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"base_lrs": [0.1]}, tmp_path / "scheduler.pt")
    assert execute(["verify", str(tmp_path)]) == 2
    assert "no weights found in any of its files" in capsys.readouterr().out


def test_a_pointer_of_git_lfs_is_called_one_and_says_how_to_get_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "last.pt"
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 6534387\n")
    assert execute(["verify", str(file)]) == 2
    out = capsys.readouterr().out
    assert "a git-LFS pointer, not the checkpoint: the file itself has 6534387 bytes. Run `git lfs pull`" in out
    assert "Loading: not known" in out


def test_both_answers_are_printed_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"w": torch.ones(2, 2)}, "hook": Verdict.SOUND}, tmp_path / "x.pt")
    assert execute(["verify", str(tmp_path / "x.pt")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("unverified: 1 tensors")
    assert lines[1].startswith("  Numbers: sound.")
    assert lines[2].startswith("  Loading: it would")
    assert "monitor.core.model.nouns.Verdict" in lines[3]
    assert lines[4].startswith("  What to do: load it only if you trust whoever made it.")


def said(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What verify says of a file that it can't read."""
    assert execute(["verify", str(file)]) == 2
    return capsys.readouterr().out


@pytest.mark.parametrize("packing", [gzip, bz2, lzma])
def test_a_packed_checkpoint_is_sound_once_it_is_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packing: Any
) -> None:
    whole = Path(saved(tmp_path / "good.pt", torch.ones(4, 4))).read_bytes()
    packed = tmp_path / "good.pt.packed"
    packed.write_bytes(packing.compress(whole))
    assert "unpack it and verify what comes out" in said(packed, capsys)
    (tmp_path / "out.pt").write_bytes(packing.decompress(packed.read_bytes()))
    assert execute(["verify", str(tmp_path / "out.pt")]) == 0


def test_a_plain_pickle_is_sound_once_torch_saved_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"w": [1.0, 2.0]}
    file = tmp_path / "state.pkl"
    file.write_bytes(pickle.dumps(state))
    assert "Save the state with torch.save" in said(file, capsys)
    torch.save({"model": {"w": torch.tensor(state["w"])}}, tmp_path / "state.pt")
    assert execute(["verify", str(tmp_path / "state.pt")]) == 0


def test_an_exported_model_leads_to_its_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its code is compressed, as torch.jit.save writes it."""
    file = tmp_path / "best.torchscript"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("best/data.pkl", b"N.")
        archive.writestr("best/code/__torch__.py", "def f(x):\n  return x\n" * 50, zipfile.ZIP_DEFLATED)
        archive.writestr("best/constants.pkl", b"N.")
    out = said(file, capsys)
    assert "a TorchScript archive" in out
    assert "Verify the checkpoint that it was exported from" in out
    assert execute(["verify", saved(tmp_path / "best.pt", torch.ones(4, 4))]) == 0


def test_a_cut_or_missing_file_leads_to_an_older_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = saved(tmp_path / "epoch1.pt", torch.ones(4, 4))
    cut = tmp_path / "epoch2.pt"
    cut.write_bytes(Path(older).read_bytes()[:200])
    assert "an older checkpoint may be sound" in said(cut, capsys)
    assert execute(["verify", older]) == 0
    assert execute(["verify", str(tmp_path / "gone.pt")]) == 2
    assert re.search(r"gone\.pt: can't be read .* name a checkpoint file", capsys.readouterr().err)
