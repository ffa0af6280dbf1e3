from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from monitor.supervisor.launch import with_hooks
from monitor.supervisor.preflight import check
from monitor.supervisor.start_errors import StartError

ENVIRONMENT = with_hooks(dict(os.environ))


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o755)
    return "./program"


@pytest.mark.parametrize(
    "text",
    [
        f"#!{sys.executable}\n",
        f"#! {sys.executable} -u\n",
        f"#!/usr/bin/env {sys.executable}\n",
        f"#!/usr/bin/env -S {sys.executable} -u\n",
        f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_the_python_behind_a_script_such_as_yolo_is_found(tmp_path: Path, text: str) -> None:
    found = check((program(tmp_path, text), "detect", "train"), tmp_path, ENVIRONMENT)
    assert found.interpreter == sys.executable
    assert found.warnings == ()


@pytest.mark.parametrize("argv", [("-m", "train"), ("-u", "-X", "dev", "train.py"), ("-W", "ignore", "-c", "pass")])
def test_a_python_is_asked_with_its_own_flags(tmp_path: Path, argv: tuple[str, ...]) -> None:
    assert check((sys.executable, *argv), tmp_path, ENVIRONMENT).interpreter == sys.executable


def test_a_python_that_ignores_the_environment_is_warned_about(tmp_path: Path) -> None:
    (warning,) = check((sys.executable, "-E", "train.py"), tmp_path, ENVIRONMENT).warnings
    assert "watch(model)" in warning


@pytest.mark.parametrize("text", ["#!/bin/bash\npython train.py\n", "", "\x7fELF\xff\n"])
def test_a_program_that_cannot_be_looked_into_is_warned_about_and_not_refused(tmp_path: Path, text: str) -> None:
    found = check((program(tmp_path, text),), tmp_path, ENVIRONMENT)
    assert found.interpreter == ""
    assert "cannot tell which Python it starts" in found.warnings[0]


def test_no_command_at_all_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="trainwarden run -- python"):
        check((), tmp_path, ENVIRONMENT)


def test_a_file_that_may_not_be_executed_is_no_command(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("echo\n")
    with pytest.raises(StartError, match="no such command"):
        check(("./train.sh",), tmp_path, ENVIRONMENT)


def test_the_users_own_pythonpath_stays_behind_ours() -> None:
    twice = with_hooks(with_hooks({"PYTHONPATH": "/mine", "TRAINWARDEN_RUN": "outer"}))
    ours, _, users = twice["PYTHONPATH"].partition(os.pathsep)
    assert Path(ours, "sitecustomize.py").is_file()
    assert users == "/mine"
    assert "TRAINWARDEN_RUN" not in twice
