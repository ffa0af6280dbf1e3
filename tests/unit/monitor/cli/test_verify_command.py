"""`trainwarden verify`: exit codes that a script can go by."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

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


def test_json_is_the_whole_examination(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", "--json", saved(tmp_path / "good.pt", torch.ones(4, 4))]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Examination)
    assert (found.verdict, found.tensors) == (Verdict.SOUND, 2)


def test_a_folder_is_no_checkpoint_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", str(tmp_path)]) == 2
    assert "can't be read (Is a directory)" in capsys.readouterr().err
