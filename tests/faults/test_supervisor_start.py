"""Starting and ending without a plan: what is refused, what is passed through untouched."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.supervisor import environment_of, eventually, folder_of, no_process_left, supervisor

NASTY_IDS = [
    "../x",
    "a/b",
    "",
    ".hidden",
    "x\n",
    "a\nroot: all is well",
    "\x1b[2J",
    "\u202egnp",
    "x" * 65,
    "/etc",
    "{{7*7}}",
]


def over(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.parametrize("code", [0, 3, 75])
def test_the_exit_code_of_the_training_is_ours(tmp_path: Path, code: int) -> None:
    returned, output = over(
        supervisor(tmp_path / "home", tmp_path, [sys.executable, "-c", f"raise SystemExit({code})"], run="r")
    )
    assert returned == code, output
    folder = folder_of(tmp_path / "home", "r")
    assert json.loads(folder.exit(1).read_text())["code"] == code
    assert json.loads((folder.root / "ended.json").read_text())["how"] == ("failed" if code else "finished")


def test_a_training_that_dies_of_a_signal_is_reported_as_a_shell_would(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    returned, output = over(supervisor(tmp_path / "home", tmp_path, [sys.executable, "-c", code], run="r"))
    assert returned == 128 + signal.SIGKILL
    assert "ended by SIGKILL" in output


def test_ten_megabytes_of_output_pass(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(10 * 1024): sys.stdout.write('x' * 1023 + '\\n')"
    returned, output = over(supervisor(tmp_path / "home", tmp_path, [sys.executable, "-c", code], run="r", quiet=True))
    assert returned == 0
    assert output.count("x" * 1023) == 10 * 1024


def test_output_that_nobody_reads_blocks_the_training_and_not_us(tmp_path: Path) -> None:
    """As without us; the supervisor has no pipe of its own that could fill up."""
    code = "import sys\nfor _ in range(10 * 1024): sys.stdout.write('x' * 1023 + '\\n')"
    with no_process_left(folder_of(tmp_path / "home", "r")):
        process = supervisor(tmp_path / "home", tmp_path, [sys.executable, "-c", code], run="r")
        folder = folder_of(tmp_path / "home", "r")
        eventually(
            "the start", lambda: folder.generation(1).exists() and '"pid": 0' not in folder.generation(1).read_text()
        )
        process.send_signal(signal.SIGTERM)
        eventually("the end by our signals", folder.exit(1).exists)
        over(process)
        assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("name", NASTY_IDS)
def test_a_run_id_that_could_do_harm_is_refused_in_one_harmless_line(tmp_path: Path, name: str) -> None:
    returned, output = over(
        supervisor(tmp_path / "home", tmp_path, [sys.executable, "-c", "print('STARTED')"], run=name)
    )
    assert returned == 78
    assert "STARTED" not in output
    assert output.count("\n") == 1
    assert "run id" in output
    assert "\x1b" not in output
    assert not (tmp_path / "home").exists()


def test_a_command_that_does_not_exist_starts_nothing(tmp_path: Path) -> None:
    returned, output = over(supervisor(tmp_path / "home", tmp_path, ["pyhton", "train.py"], run="r"))
    assert returned == 78
    assert "'pyhton': there is no such command" in output
    assert not (tmp_path / "home").exists()


def test_a_python_without_the_hooks_starts_nothing_and_says_how_to_install_them(tmp_path: Path) -> None:
    venv = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = str(venv / "bin/python")
    returned, output = over(supervisor(tmp_path / "home", tmp_path, [python, "-c", "print('STARTED')"], run="r"))
    assert returned == 78
    assert "STARTED" not in output
    assert f"`{python} -m pip install trainwarden`" in output
    assert not (tmp_path / "home").exists()


def test_a_run_that_exists_is_refused_with_the_way_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    argv = [sys.executable, "-c", "print('STARTED')"]
    over(supervisor(home, tmp_path, argv, run="r"))
    returned, output = over(supervisor(home, tmp_path, argv, run="r"))
    assert returned == 78
    assert "STARTED" not in output
    assert "trainwarden run --adopt r" in output


def test_a_live_run_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    argv = [sys.executable, "-c", "import time; print('STARTED', flush=True); time.sleep(60)"]
    with no_process_left(folder_of(tmp_path / "home", "r")):
        first = supervisor(home, tmp_path, argv, run="r")
        eventually("the start", folder_of(home, "r").generation(1).exists)
        for adopt in (False, True):
            returned, output = over(supervisor(home, tmp_path, argv, run="r", adopt=adopt))
            assert returned == 78
            assert f"is live, under the supervisor with pid {first.pid}" in output
        first.send_signal(signal.SIGTERM)
        over(first)


def test_what_was_asked_for_is_written_before_anything_starts_and_is_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    read = f"print(open({str(folder_of(home, 'r').policy)!r}).read(), open({str(folder_of(home, 'r').spec)!r}).read())"
    _, output = over(
        supervisor(
            home, tmp_path, [sys.executable, "-c", read], run="r", title="../ night\n\x1b", policy_text="secret: 1\n"
        )
    )
    assert "secret: 1" in output
    assert '"argv"' in output
    assert stat.S_IMODE(folder_of(home, "r").policy.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder_of(home, "r").root.stat().st_mode) == 0o700


def test_a_run_without_an_id_gets_a_readable_one(tmp_path: Path) -> None:
    over(supervisor(tmp_path / "home", tmp_path, [sys.executable, "-c", "pass"], title="../ Night of\nthe NaN"))
    (made,) = (tmp_path / "home" / "runs").iterdir()
    assert made.name.startswith("night-of-the-nan-")


def test_the_users_own_monitor_and_alerts_are_theirs(tmp_path: Path) -> None:
    """Also with PYTHONPATH=., where a careless child of ours would run them."""
    for name in ("monitor", "alerts"):
        (tmp_path / f"{name}.py").write_text(f"print('THE USERS {name.upper()}')\n")
    (tmp_path / "train.py").write_text("import monitor, alerts, os; print(os.environ['PYTHONPATH'])\n")
    returned, output = over(
        supervisor(
            tmp_path / "home",
            tmp_path,
            [sys.executable, "train.py"],
            env=environment_of(tmp_path / "home", PYTHONPATH="."),
            run="r",
        )
    )
    assert returned == 0
    assert output.count("THE USERS MONITOR") == 1
    assert output.count("THE USERS ALERTS") == 1
    assert any(line.endswith("/autoattach:.") for line in output.splitlines())


def test_arguments_environment_and_signals_arrive_as_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import json, os, signal, sys\n"
        "quiet = [s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN]\n"
        "print(json.dumps([sys.argv[1:], {k: v for k, v in os.environ.items() if k in ('A.B', 'LC_CTYPE')},\n"
        "  quiet, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), os.getcwd()]))\n"
    )
    words = ["a b", "", "*", "$HOME", "ü\n"]
    env = environment_of(tmp_path / "home", LC_ALL="C.UTF-8") | {"A.B": "kept"}
    _, output = over(
        supervisor(tmp_path / "home", tmp_path, [sys.executable, "train.py", *words], env=env, run="r", quiet=True)
    )
    (line,) = [line for line in output.splitlines() if line.startswith("[[")]
    arguments, environment, ignored, blocked, folder = json.loads(line)
    assert arguments == words
    assert environment == {"A.B": "kept"}
    assert ignored == ["SIGHUP", "SIGPIPE", "SIGXFSZ"]  # SIGHUP by us; the others Python ignores by itself
    assert blocked == []
    assert folder == str(tmp_path)


STUBBORN = """
import pathlib, signal, os, time
folder = pathlib.Path(os.environ["TRAINWARDEN_RUN_FOLDER"])
def note(number, frame):
    with open(folder / "asked", "a") as file:
        file.write("x")
signal.signal(signal.SIGTERM, note)
(folder / "begun").touch()
while True:
    time.sleep(0.05)
"""


def test_sigterm_is_passed_on_once_and_a_training_that_ignores_it_is_made_to_leave(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(STUBBORN)
    folder = folder_of(tmp_path / "home", "r")
    with no_process_left(folder_of(tmp_path / "home", "r")):
        process = supervisor(tmp_path / "home", tmp_path, [sys.executable, "train.py"], run="r")
        eventually("the training", (folder.root / "begun").exists)
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
        eventually("SIGTERM", (folder.root / "asked").exists)
        returned, output = over(process)
    assert returned == 128 + signal.SIGKILL, output
    assert (folder.root / "asked").read_text() == "xx"  # once passed on, once before SIGKILL
    assert json.loads(folder.exit(1).read_text())["escalation"] == "SIGKILL"
    assert json.loads((folder.root / "ended.json").read_text())["how"] == "stopped"


def test_a_hang_up_without_a_terminal_ends_nothing_and_moves_no_output(tmp_path: Path) -> None:
    """As under nohup with the output in a file."""
    (tmp_path / "train.py").write_text(STUBBORN.replace("while True", "while not (folder / 'leave').exists()"))
    folder = folder_of(tmp_path / "home", "r")
    with no_process_left(folder_of(tmp_path / "home", "r")):
        process = supervisor(tmp_path / "home", tmp_path, [sys.executable, "train.py"], run="r")
        eventually("the training", (folder.root / "begun").exists)
        process.send_signal(signal.SIGHUP)
        (folder.root / "leave").touch()
        returned, output = over(process)
    assert returned == 0
    assert "Run r: finished" in output
    assert not folder.output_log.exists()
