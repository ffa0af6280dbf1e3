from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trainer_hooks.identity import Identity, IdentityError, identify
from trainer_hooks.job import launch_key
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.messages import Sender
from trainer_hooks.wire.run_documents import Generation, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

LAUNCHER = {
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RUN", "RUN_FOLDER", "GENERATION", "NONCE", "PLAN"):
        monkeypatch.delenv(f"TRAINWARDEN_{name}", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    return tmp_path


def test_under_the_supervisor_everything_is_in_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "elsewhere"
    for name, value in {
        "RUN": "night",
        "RUN_FOLDER": str(folder),
        "GENERATION": "3",
        "NONCE": "abc",
        "PLAN": str(folder / "plan-3.json"),
    }.items():
        monkeypatch.setenv(f"TRAINWARDEN_{name}", value)
    found = identify(1)
    assert found.sender() == Sender("night", 3, 1, "abc")
    assert (found.supervised, found.plan_path) == (True, folder / "plan-3.json")
    assert found.folder.root == folder
    assert not folder.exists(), "nothing is touched"


def test_a_bare_script_is_a_run_of_its_own_that_only_observes(home: Path) -> None:
    first, second = identify(-1), identify(-1)
    assert first.run != second.run
    assert (first.rank, first.generation, first.supervised, first.plan_path) == (0, 1, False, None)
    assert read(first.folder.generation(1), Generation).nonce == first.nonce
    assert read(first.folder.spec, RunSpec).act is False


def test_under_another_launcher_each_restart_is_the_next_generation(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWARDEN_RUN", "night")
    assert [identify(0).generation for _ in range(3)] == [1, 2, 3]


def test_the_other_ranks_wait_for_the_generation_of_their_launch(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_RUN", "night")
    RunFolder(home / "runs" / "night").allocate_generation("hook", "an earlier launch")
    for name, value in LAUNCHER.items():
        monkeypatch.setenv(name, value)
    found: list[Identity] = []
    rank_one = threading.Thread(target=lambda: found.append(identify(1)))
    rank_one.start()
    rank_zero = identify(0)
    rank_one.join(60)
    assert (rank_zero.generation, found[0].generation) == (2, 2)
    assert found[0].nonce == rank_zero.nonce


def test_ranks_of_a_bare_launch_come_to_the_same_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHER.items():
        monkeypatch.setenv(name, value)
    assert identify(0).run == identify(1).run


def test_a_rank_zero_that_never_comes_is_told_in_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_RUN", "night")
    with pytest.raises(IdentityError, match=r"rank 0 of this launch .* TRAINWARDEN_GENERATION"):
        identify(1, wait_s=0.1)


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", "²"])
def test_a_generation_that_is_no_number_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("TRAINWARDEN_RUN", "night")
    monkeypatch.setenv("TRAINWARDEN_GENERATION", number)
    with pytest.raises(IdentityError, match="a generation is a number from 1"):
        identify(0)


@pytest.mark.parametrize("run", ["../night", "a\nb", "night/../x", "." * 3])
def test_a_run_id_that_could_leave_its_folder_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    monkeypatch.setenv("TRAINWARDEN_RUN", run)
    with pytest.raises(RunFolderError, match="run id"):
        identify(0)


def test_many_processes_never_share_a_generation(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_RUN", "night")
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.append(identify(0).generation)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken) == list(range(1, 21))


def test_a_restart_by_the_launcher_is_another_launch() -> None:
    again = {**LAUNCHER, "TORCHELASTIC_RESTART_COUNT": "1"}
    assert launch_key(LAUNCHER) == launch_key(LAUNCHER)
    assert launch_key(LAUNCHER) != launch_key(again)
    assert launch_key({}) == "", "a process alone has none, and makes up its nonce"
