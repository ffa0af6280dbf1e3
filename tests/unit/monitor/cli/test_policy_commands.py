"""`trainwarden policy`: what it prints is what the run will use."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.cli import execute
from monitor.cli.policy import read_policy
from monitor.policy.settings import Policy


def test_the_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["policy", "presets"]) == 0
    assert capsys.readouterr().out.split() == ["default", "observe", "strict"]


def test_a_preset_that_was_printed_into_a_file_is_a_sound_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["policy", "show", "strict"]) == 0
    file = tmp_path / "policy.yaml"
    file.write_text(capsys.readouterr().out)
    assert execute(["policy", "check", str(file)]) == 0
    assert read_policy(str(file))[1] == read_policy("strict")[1]


def test_the_effective_policy_shows_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("rollback:\n  budget: 7\n")
    assert execute(["policy", "show", "--effective", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "budget: 7" in shown
    assert f"healthy_batches: {Policy().rollback.healthy_batches}" in shown


def test_a_typo_is_answered_with_file_line_key_and_the_nearest_valid_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nrollback:\n  buget: 3\n")
    assert execute(["policy", "check", str(file)]) == 78
    said = capsys.readouterr().err
    assert f"{file}:3:3: rollback.buget" in said
    assert "'budget'" in said or " budget" in said


def test_a_run_with_a_broken_policy_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, sign = tmp_path / "policy.yaml", tmp_path / "started"
    file.write_text("act: perhaps\n")
    assert execute(["run", "--policy", str(file), "--", "touch", str(sign)]) == 78
    assert "act" in capsys.readouterr().err
    assert not sign.exists()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(b"\xff\xfe\x00act")
    assert execute(["policy", "check", str(file)]) == 78
    assert "can't be read as text" in capsys.readouterr().err
