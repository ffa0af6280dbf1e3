"""What a person does at the keyboard while a run is live, and what a slip there is answered with."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.cli import COMMANDS
from tests.harness.night_run import (
    CONSOLE,
    RUN,
    Daemon,
    NightRun,
    environment_of_home,
    fresh_home,
    says_one_sentence,
    trainwarden,
)
from tests.harness.supervisor import eventually
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.plan import Receipt


@pytest.fixture(scope="module")
def operated(checkpoints: Path) -> Iterator[NightRun]:
    """A sound run that a person sent back in its third epoch and stopped afterwards; its daemon still answers."""
    with fresh_home() as home:
        run = NightRun(home, checkpoints, "--bad", "", "--epochs", "12")
        run.until_says("checkpoint of epoch 2: sound")
        run.until("healthy batches after it", lambda: batch_of(run) >= 48)
        told = trainwarden(home, "rollback", RUN)
        assert (told.returncode, told.stderr) == (0, ""), told
        run.until_generation(2)
        run.until_says("rolled back: generation 2")
        told = trainwarden(home, "stop", RUN)
        assert (told.returncode, told.stderr) == (0, ""), told
        run.wait()
        yield run


def batch_of(run: NightRun) -> int:
    """How many batches the status counts."""
    found = json.loads(trainwarden(run.home, "status", RUN, "--json").stdout)
    return int(found["summary"]["batches"])


def last_pt(run: NightRun) -> str:
    return str(run.save_dir / "weights" / "last.pt")


def test_an_operators_rollback_goes_back_to_the_newest_clean_checkpoint_and_trains_on(operated: NightRun) -> None:
    assert operated.plans() == ["plan-2.json"]
    assert operated.target_epoch() >= 2
    assert operated.rows() == [str(epoch) for epoch in range(1, len(operated.rows()) + 1)], "nothing twice, no gap"
    assert operated.says("asked for a rollback")
    assert operated.folder.last_generation() == 2


def test_an_operators_stop_ends_at_a_batch_boundary_and_leaves_a_resumable_checkpoint(operated: NightRun) -> None:
    receipts = [read(path, Receipt) for path in operated.folder.root.glob("applied-*.json")]
    (stop,) = [receipt for receipt in receipts if receipt.generation == 2]
    assert stop.outcome == "applied"
    assert operated.says("run stopped")
    assert not (operated.folder.plan(3)).exists()
    assert trainwarden(operated.home, "verify", last_pt(operated)).returncode == 0


def test_status_tells_how_it_ended(operated: NightRun) -> None:
    shown = trainwarden(operated.home, "status", RUN)
    assert shown.returncode == 0
    assert "stopped" in shown.stdout
    assert "1 of 3" in shown.stdout, "the rollback is counted"
    assert RUN in trainwarden(operated.home, "status").stdout


def test_checkpoints_tells_which_may_be_trusted(operated: NightRun) -> None:
    shown = trainwarden(operated.home, "checkpoints", RUN)
    assert shown.returncode == 0
    found = json.loads(trainwarden(operated.home, "checkpoints", RUN, "--json").stdout)
    assert [line["epoch"] for line in found][:2] == [1, 2]
    assert {line["verdict"] for line in found} <= {"sound", "clean", "suspect"}
    assert all(line["why"] in " ".join(shown.stdout.split()) for line in found[:1])


def test_report_tells_who_asked_and_what_it_cost(operated: NightRun) -> None:
    shown = trainwarden(operated.home, "report", RUN)
    assert shown.returncode == 0
    assert "asked for a rollback" in shown.stdout
    assert f"epoch {operated.target_epoch()}" in shown.stdout
    assert "discarded" in shown.stdout


def test_what_is_over_can_not_be_stopped_again(operated: NightRun) -> None:
    assert "this run has ended (stopped)" in says_one_sentence(trainwarden(operated.home, "stop", RUN), 2)


def test_a_second_daemon_is_refused_in_one_sentence(home: Path) -> None:
    argv = [*CONSOLE, "serve", "--port", "0"]
    first = subprocess.Popen(argv, env=environment_of_home(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with first:
        eventually("the daemon", lambda: "trainwarden_build_info" in Daemon(home).metrics())
        assert str(first.pid) in says_one_sentence(trainwarden(home, "serve", "--port", "0"), 73)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20.0) == 0


def test_run_takes_a_free_port_where_its_own_is_taken_and_says_which(home: Path, checkpoints: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        run = NightRun(home, checkpoints, "--bad", "", "--epochs", "1", options=["--port", str(port)])
        run.until_says(f"(not {port}: it is taken")
        said = trainwarden(home, "serve", "--port", str(port))
        says_one_sentence(said, 73)
        assert run.wait() == 0, run.shown
    assert "/metrics" in run.shown


def test_a_typo_in_the_policy_names_file_line_key_and_the_nearest_key(home: Path) -> None:
    policy = home / "mine.yaml"
    policy.write_text("version: 1\nrollback:\n  budgt: 3\n")
    said = says_one_sentence(trainwarden(home, "run", "--policy", str(policy), "--", sys.executable, "-c", "1"), 78)
    assert f"{policy}:3" in said
    assert "budgt" in said
    assert "'budget'" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run",), 2, "the command of the training is missing"),
        (("run", "--", "no-such-command"), 78, "no-such-command"),
        (("verify", "no-such.pt"), 2, "no-such.pt: can't be read"),
        (("status", "nihgt"), 2, "nihgt"),
        (("status",), 69, "no daemon"),
    ],
)
def test_a_slip_is_answered_with_one_sentence(arguments: tuple[str, ...], code: int, said: str, home: Path) -> None:
    assert said in says_one_sentence(trainwarden(home, *arguments), code)


def test_an_unreadable_checkpoint_is_unverified_and_says_why(home: Path) -> None:
    file = home / "broken.pt"
    file.write_bytes(b"PK\x03\x04 cut off")
    done = trainwarden(home, "verify", str(file))
    assert done.returncode == 2
    assert "unverified" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_every_command_has_help(home: Path) -> None:
    for name in COMMANDS:
        shown = trainwarden(home, name, "--help")
        assert shown.returncode == 0, shown.stderr
        assert f"trainwarden {name}" in shown.stdout
