"""The command line as a whole: what it imports, what it answers to mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from monitor.cli import COMMANDS, execute

HEAVY = {"httpx", "msgspec", "numpy", "pydantic", "rich", "ruamel", "starlette", "uvicorn", "zmq", "prometheus_client"}


def test_help_imports_none_of_the_libraries_that_the_commands_need() -> None:
    """They cost 50 to 300 ms each, and --help must stay under 300 ms in all."""
    script = "import sys; from monitor.cli import execute; execute(['--help']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = {module.partition(".")[0] for module in shown.splitlines()[-1].split()}
    assert "click" in loaded
    assert not loaded & HEAVY


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_ends_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"trainwarden {name}" in shown.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["statsu"], 2, "'statsu' is not a command; did you mean 'status'"),
        (["run"], 2, "the command of the training is missing"),
        (["run", "--"], 2, "the command of the training is missing"),
        (["run", "--polcy", "x", "--", "python"], 2, "--polcy"),
        (["run", "--policy", "strit", "--", "python"], 78, "did you mean 'strict'?"),
        (["run", "--policy", "no/such.yaml", "--", "python"], 78, "the presets are default, observe, strict, rollback"),
        (["run", "--deadline", "tomorrow", "--", "python"], 2, "'tomorrow' is not a time"),
        (["run", "--deadline", "2001-01-01 10:00", "--", "python"], 2, "is in the past"),
        (["run", "--port", "65536", "--", "python"], 2, "--port"),
        (["run", "--adopt", "night", "--", "python"], 2, "Leave the command out"),
        (["policy"], 2, "Missing command"),
        (["policy", "check", "no-such-file.yaml"], 78, "neither a preset nor a file"),
        (["verify", "no-such-file.pt"], 2, "no-such-file.pt: can't be read (No such file or directory)"),
        (["verify"], 2, "Missing argument 'FILE'"),
    ],
)
def test_a_mistake_is_answered_with_one_line_and_an_exit_code(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("trainwarden: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_the_console_script_ignores_a_users_own_monitor_module(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("user")
    (folder / "monitor.py").write_text("raise SystemExit('the user\\'s monitor.py was run')\n")
    console = "from _trainwarden import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", console, "--help"],
        cwd=folder,
        env={"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout
