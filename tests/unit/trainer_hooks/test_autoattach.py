"""The way in without code, in interpreters of their own, in the environment that `trainwarden run` gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import trainer_hooks
from trainer_hooks import attach, orders
from trainer_hooks.wire import runfolder

AUTOATTACH = Path(trainer_hooks.__file__).parent / "autoattach"

TOY_TRAINER = """
class Trainer:
    def train(self):
        return "trained"

if __name__ == "__main__":
    print("run as a program")
"""
TOY_INTEGRATION = """
def attach(module):
    train = module.Trainer.train
    module.Trainer.train = lambda self: "watched and " + train(self)
    print("attached to", module.__name__)
"""
INSTALL = 'from trainer_hooks import attach; attach.install({"toy.trainer": "toy_integration"})\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").touch()
    (tmp_path / "toy" / "trainer.py").write_text(TOY_TRAINER)
    (tmp_path / "toy_integration.py").write_text(TOY_INTEGRATION)
    return tmp_path


def python(folder: Path, *arguments: str, path: tuple[Path, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    """An interpreter as the supervisor starts it, with `folder` and `path` behind ours on PYTHONPATH."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWARDEN_")}
    search = os.pathsep.join(str(entry) for entry in (AUTOATTACH, *path, folder))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**own, "PYTHONPATH": search, **env},
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def test_a_trainer_is_attached_to_when_it_is_imported_and_not_before(folder: Path) -> None:
    code = INSTALL + "import toy; print('toy is there'); from toy.trainer import Trainer; print(Trainer().train())"
    done = python(folder, "-c", code)
    assert (done.stdout, done.stderr) == ("toy is there\nattached to toy.trainer\nwatched and trained\n", "")


def test_a_trainer_that_is_there_already_is_attached_to_once(folder: Path) -> None:
    done = python(folder, "-c", "import toy.trainer\n" + INSTALL + INSTALL + "print(toy.trainer.Trainer().train())")
    assert (done.stdout, done.stderr) == ("attached to toy.trainer\nwatched and trained\n", "")


def test_reload_pickle_source_and_resources_see_the_trainers_own_loader(folder: Path) -> None:
    code = INSTALL + (
        "import importlib, importlib.machinery, importlib.resources, inspect, pickle, toy.trainer\n"
        "assert isinstance(toy.trainer.__spec__.loader, importlib.machinery.SourceFileLoader)\n"
        "assert toy.trainer.__loader__ is toy.trainer.__spec__.loader\n"
        "assert type(pickle.loads(pickle.dumps(toy.trainer.Trainer()))) is toy.trainer.Trainer\n"
        "assert 'def train' in inspect.getsource(toy.trainer)\n"
        "assert importlib.resources.files('toy').joinpath('trainer.py').is_file()\n"
        "importlib.reload(toy.trainer)\n"
        "assert toy.trainer.Trainer().train() == 'watched and trained'\n"
    )
    done = python(folder, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "attached to toy.trainer\n" * 2


def test_the_module_can_still_be_run_as_a_program(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text(INSTALL)
    done = python(folder, "-m", "toy.trainer")
    assert (done.stdout, done.stderr) == ("run as a program\n", "")


@pytest.mark.parametrize("shape", ["sitecustomize.py", "sitecustomize/__init__.py"])
@pytest.mark.parametrize("run", ["night", ""])
def test_a_sitecustomize_that_ours_shadows_is_run(folder: Path, tmp_path: Path, shape: str, run: str) -> None:
    shadowed = tmp_path / "theirs" / shape
    shadowed.parent.mkdir(parents=True)
    shadowed.write_text("import os\nos.environ['THEIRS'] = __name__ + ' ' + __file__\n")
    code = "import os, sitecustomize; print(os.environ['THEIRS'], sitecustomize.__file__)"
    done = python(folder, "-c", code, path=(tmp_path / "theirs",), TRAINWARDEN_RUN=run)
    assert (done.stdout, done.stderr) == (f"sitecustomize {shadowed} {shadowed}\n", "")


def test_a_shadowed_sitecustomize_that_fails_does_so_as_without_us(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("raise ValueError('theirs')")
    done = python(folder, "-c", "print('goes on')", TRAINWARDEN_RUN="night")
    assert done.stdout == "goes on\n"
    assert "Error in sitecustomize" in done.stderr
    assert "ValueError: theirs" in done.stderr


def test_hooks_that_can_not_be_imported_cost_one_line(folder: Path, tmp_path: Path) -> None:
    done = python(folder, "-c", "print('goes on')", path=(broken_hooks(tmp_path),), TRAINWARDEN_RUN="night")
    assert (done.returncode, done.stdout) == (0, "goes on\n")
    assert done.stderr.count("\n") == 1
    assert "can't watch this process: ImportError('broken')" in done.stderr


def test_with_a_plan_waiting_hooks_that_can_not_be_imported_end_the_process_first(folder: Path, tmp_path: Path) -> None:
    (folder / "sitecustomize.py").write_text("print('theirs')")
    broken = broken_hooks(tmp_path)
    done = python(folder, "-c", "print('ran')", path=(broken,), TRAINWARDEN_RUN="night", TRAINWARDEN_PLAN="/plan")
    assert (done.returncode, done.stdout) == (75, "")
    assert "a plan waits" in done.stderr


@pytest.mark.parametrize(("plan", "code", "out"), [("", 0, "trained\n"), ("/plan", 75, "")])
def test_an_integration_that_fails_is_open_while_training_and_closed_at_a_planned_start(
    folder: Path, plan: str, code: int, out: str
) -> None:
    (folder / "toy_integration.py").write_text("raise RuntimeError('no such attribute')")
    program = INSTALL + (
        "try:\n    from toy.trainer import Trainer\nexcept Exception:\n    print('swallowed')\nprint(Trainer().train())"
    )
    done = python(folder, "-c", program, TRAINWARDEN_PLAN=plan)
    assert (done.returncode, done.stdout) == (code, out)
    assert "could not attach to toy.trainer: RuntimeError('no such attribute')" in done.stderr


def test_a_process_that_trains_nothing_loads_nothing_that_costs_time(folder: Path) -> None:
    names = "msgspec", "zmq", "torch", "logging", "typing", "importlib.abc", "trainer_hooks.attach"
    code = f"import sys; print([name for name in {names} if name in sys.modules])"
    assert python(folder, "-c", code, TRAINWARDEN_RUN="night").stdout == "['trainer_hooks.attach']\n"
    assert python(folder, "-c", code).stdout == "[]\n"


def test_importing_the_hooks_loads_no_heavy_library_and_starts_nothing(folder: Path) -> None:
    code = (
        "import sys, threading, trainer_hooks, trainer_hooks.probe, trainer_hooks.fail_open, trainer_hooks.terminal\n"
        "heavy = {'torch', 'pydantic', 'starlette', 'ultralytics', 'numpy', 'monitor', 'alerts', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), threading.active_count())"
    )
    assert python(folder, "-c", code).stdout == "[] 1\n"


def test_what_is_written_twice_to_save_an_import_is_the_same() -> None:
    assert attach.ENV_PLAN == runfolder.ENV_PLAN
    assert attach.EXIT_CODE == orders.EXIT_CODE
    text = (AUTOATTACH / "sitecustomize.py").read_text()
    for name in (runfolder.ENV_RUN, runfolder.ENV_PLAN, runfolder.ENV_RUN_FOLDER):
        assert f'"{name}"' in text


def broken_hooks(folder: Path) -> Path:
    """A folder whose trainer_hooks can't be imported, as in an environment where half of it is missing."""
    package = folder / "broken" / "trainer_hooks"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('broken')")
    return folder / "broken"
