"""A home that can't be used ends `serve` and `run` with one sentence and exit code 78 before anything starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import _trainwarden

RUN = ("run", "--port", "0", "--", sys.executable, "-c", "open('started', 'w')")
SERVE = ("serve", "--port", "0")
DETACHED = ("--detached",)


def _file(home: Path) -> None:
    home.write_text("")


def _dangling(home: Path) -> None:
    home.symlink_to(home.with_name("nowhere"))


def _loop(home: Path) -> None:
    home.symlink_to(home)


def _below_a_file(home: Path) -> None:
    home.parent.rmdir()
    home.parent.write_text("")


def _of_others(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)


def _of_the_group(home: Path) -> None:
    home.mkdir()
    home.chmod(0o770)


def _link_to_one_of_others(home: Path) -> None:
    _of_others(home.with_name("other"))
    home.symlink_to(home.with_name("other"))


def _no_folder_can_be_made(home: Path) -> None:
    home.symlink_to("/proc/self/fdinfo/none")


OF_OTHERS = (_of_others, _of_the_group, _link_to_one_of_others)
HOMES = (_file, _dangling, _loop, _below_a_file, _no_folder_can_be_made, *OF_OTHERS)


def started(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRAINWARDEN_HOME": str(home)}
    command = _trainwarden.console_command(*arguments)
    cwd = home.parents[1]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60.0, check=False)


@pytest.mark.parametrize("command", [SERVE, RUN], ids=["serve", "run"])
@pytest.mark.parametrize("make", HOMES)
def test_a_home_that_cant_be_used_is_refused_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], None], command: tuple[str, ...]
) -> None:
    home = tmp_path / "above" / "home"
    home.parent.mkdir()
    make(home)
    done = started(home, *command)
    assert done.returncode == 78, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(home) in done.stderr
    assert not (tmp_path / "started").exists(), "nothing was started"


def test_a_link_of_ones_own_to_a_folder_of_ones_own_is_a_home(tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    (tmp_path / "disk").mkdir(mode=0o700)
    home = tmp_path / "above" / "home"
    home.symlink_to(tmp_path / "disk")
    done = started(home, *RUN)
    assert (done.returncode, (tmp_path / "started").exists()) == (0, True), done.stderr
    os.kill(json.loads((home / "run" / "daemon.json").read_bytes())["pid"], signal.SIGTERM)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a file system")
@pytest.mark.parametrize("how", ["ro", "full"])
def test_a_read_only_or_full_disk_is_said_without_a_traceback(tmp_path: Path, how: str) -> None:
    home = tmp_path / "above" / "home"
    home.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(home)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        if how == "ro":
            subprocess.run(["mount", "-o", "remount,ro", home], check=True)
        else:
            with (home / "filler").open("wb", buffering=0) as filler:
                while True:
                    try:
                        filler.write(b"x" * 4096)
                    except OSError:
                        break
        for command in (SERVE, RUN):
            done = started(home, *command)
            assert done.returncode in {70, 78}, done.stderr
            assert "Traceback" not in done.stderr
            assert done.stderr.startswith("trainwarden: ")
        assert not (tmp_path / "started").exists()
    finally:
        subprocess.run(["umount", home], check=True)


def test_a_secret_that_cant_be_read_ends_policy_check_and_run_before_anything_starts(tmp_path: Path) -> None:
    home = tmp_path / "above" / "home"
    home.mkdir(parents=True, mode=0o700)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff" * 40)
    (tmp_path / "short").write_text("abc")
    (tmp_path / "big").write_text("# comment\n" * 10_000)
    for name in ("missing", "pipe", "binary", "short", "big", "above"):
        policy = tmp_path / "policy.yaml"
        policy.write_text(f"webhooks:\n  - url: http://127.0.0.1:1/\n    secret_file: {tmp_path / name}\n")
        for command in (("policy", "check", str(policy)), ("run", "--policy", str(policy), *RUN[1:])):
            done = started(home, *command)
            assert (done.returncode, "Traceback" in done.stderr) == (78, False), (name, done.stderr)
            assert f"webhooks.0.secret_file: {tmp_path / name}" in done.stderr
    assert list(home.iterdir()) == []
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("argument", ["--title", "--run", "--policy", "--deadline", ""])
def test_bytes_that_are_no_text_are_refused_in_one_sentence(tmp_path: Path, argument: str) -> None:
    home = tmp_path / "above" / "home"
    home.mkdir(parents=True, mode=0o700)
    bad = os.fsdecode(b"\xff\xfe")
    command = ("run", argument, bad, *RUN[1:]) if argument else (*RUN, bad)
    done = started(home, *command)
    assert "Traceback" not in done.stderr
    assert done.returncode in {2, 78}, done.stderr
    assert not (tmp_path / "started").exists()
