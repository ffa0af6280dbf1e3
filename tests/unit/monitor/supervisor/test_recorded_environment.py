"""What of an environment is written down for a later start, and what comes from whoever resumes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monitor.supervisor.recorded_environment import record, restored
from trainer_hooks.wire.runfolder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "night")
    made.create()
    return made


def test_the_command_gets_what_it_was_started_with(folder: RunFolder) -> None:
    record(folder, {"CUDA_VISIBLE_DEVICES": "1", "PATH": "/venv/bin", "PYTHONPATH": "src"})
    present = {"PATH": "/usr/bin", "CUDA_VISIBLE_DEVICES": "0", "NEW": "not the run's"}
    assert restored(folder, present) == {"CUDA_VISIBLE_DEVICES": "1", "PATH": "/venv/bin", "PYTHONPATH": "src"}


@pytest.mark.parametrize(
    "name",
    [
        "WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "SENTRY_DSN", "https_proxy", "NETRC_AUTH",
        "GOOGLE_APPLICATION_CREDENTIALS", "SLACK_WEBHOOK", "DATABASE_URL",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_never_written(folder: RunFolder, name: str) -> None:
    record(folder, {name: "s3cret", "A": "b"})
    assert b"s3cret" not in folder.environment.read_bytes()
    assert stat.S_IMODE(folder.environment.stat().st_mode) == 0o600
    assert restored(folder, {name: "today's"}) == {"A": "b", name: "today's"}
    assert restored(folder, {}) == {"A": "b"}


@pytest.mark.parametrize("name", ["XDG_RUNTIME_DIR", "DISPLAY", "TERM", "TRAINWARDEN_HOME", "INVOCATION_ID", "SSH_TTY"])
def test_what_belongs_to_a_login_is_that_of_the_login_that_resumes(folder: RunFolder, name: str) -> None:
    record(folder, {name: "of before"})
    assert restored(folder, {name: "of now"}) == {name: "of now"}


def test_bytes_that_are_no_text_are_left_out(folder: RunFolder) -> None:
    record(folder, {"BAD": "\udcff", "GOOD": "ü"})
    assert restored(folder, {}) == {"GOOD": "ü"}


def test_a_run_of_an_earlier_version_gets_the_present_environment(folder: RunFolder) -> None:
    assert restored(folder, {"PATH": "/usr/bin"}) == {"PATH": "/usr/bin"}
