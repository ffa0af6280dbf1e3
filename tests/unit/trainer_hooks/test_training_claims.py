"""Numbers of trainings: given out once, kept over a relaunch, shared by the ranks of a job and by nobody else."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainer_hooks import training_claims
from trainer_hooks.training_claims import ClaimError, TrainingCall, claim, unclaimed
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.run_documents import TrainingClaim
from trainer_hooks.wire.runfolder import RunFolder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "night")


def call(position: int = 1, *, line: int = 10, digest: str = "d", job: str = "", rank: int = 0) -> TrainingCall:
    return TrainingCall(position, f"train.py:{line}", digest, job, rank)


def numbers(folder: RunFolder, generation: int, *calls: TrainingCall) -> list[int]:
    return [claim(folder, generation, each).number for each in calls]


def test_each_training_of_a_process_gets_the_next_number_and_leaves_its_claim(folder: RunFolder) -> None:
    assert numbers(folder, 1, call(1), call(2), call(3)) == [1, 2, 3]
    found = read(folder.claim(2, 1), TrainingClaim)
    assert (found.number, found.generation, found.position, found.call_site) == (2, 1, 2, "train.py:10")
    assert (found.pid, found.parent_pid, found.rank, found.job) == (os.getpid(), os.getppid(), 0, "")


def test_processes_that_claim_at_the_same_moment_never_share_a_number(folder: RunFolder) -> None:
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(lambda _: claim(folder, 1, call(1)).number, range(40)))
    assert sorted(taken) == list(range(1, 41))


def test_the_ranks_of_a_job_share_a_number_whoever_comes_first(folder: RunFolder) -> None:
    assert numbers(folder, 1, call(job="j/1", rank=1), call(job="other/1"), call(job="j/1"), call(2, job="j/2")) == [
        1,
        2,
        1,
        3,
    ]
    assert set(folder.claimed()) == {(1, 1, 1), (2, 1, 0), (1, 1, 0), (3, 1, 0)}


def test_a_child_that_inherited_its_ranks_environment_gets_a_number_of_its_own(folder: RunFolder) -> None:
    assert numbers(folder, 1, call(job="j/1"), call(job="j/1", rank=1), call(job="j/1"), call(job="j/1", rank=1)) == [
        1,
        1,
        2,
        3,
    ]
    assert read(folder.claim(2, 1), TrainingClaim).job == ""


def test_after_a_relaunch_a_training_has_the_number_it_had(folder: RunFolder) -> None:
    folds = [call(n, line=n) for n in (1, 2, 3)]
    assert numbers(folder, 1, *folds) == [1, 2, 3]
    assert numbers(folder, 2, folds[0], folds[2], folds[1]) == [1, 3, 2]
    assert numbers(folder, 4, *folds) == [1, 2, 3]


def test_a_relaunched_script_that_skips_what_it_had_finished_gets_new_numbers(folder: RunFolder) -> None:
    """Its second fold now comes first: another place, so nothing says that it is the same training."""
    assert numbers(folder, 1, call(1, digest="fold 1"), call(2, digest="fold 2")) == [1, 2]
    assert numbers(folder, 2, call(1, digest="fold 2"), call(2, digest="fold 3")) == [3, 4]


OTHERS = {
    "position": call(2),
    "line": call(line=11),
    "file": TrainingCall(1, "other.py:10", "d"),
    "arguments": call(digest="e"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_another_call_is_another_training(folder: RunFolder, other: TrainingCall) -> None:
    assert numbers(folder, 1, call(), call(3, line=30)) == [1, 2]
    assert claim(folder, 2, other).number == 3


@pytest.mark.parametrize("other", ["position", "file", "arguments"])
def test_another_call_is_another_training_also_where_the_run_has_one(folder: RunFolder, other: str) -> None:
    claim(folder, 1, call())
    assert claim(folder, 2, OTHERS[other]).number == 2


def test_the_only_training_of_a_run_keeps_its_number_where_its_script_was_edited_meanwhile(folder: RunFolder) -> None:
    """Three lines were put above the call: a plan for the training must find it all the same."""
    assert numbers(folder, 1, call(line=10)) == [1]
    assert numbers(folder, 2, call(line=13), call(2, line=20)) == [1, 2]
    assert numbers(folder, 3, call(line=16)) == [3], "with two, nothing says which it is"


def test_twins_of_one_process_pool_get_the_earlier_numbers_one_each(folder: RunFolder) -> None:
    assert numbers(folder, 1, call(), call(), call()) == [1, 2, 3]
    assert numbers(folder, 2, call(), call(), call(), call()) == [1, 2, 3, 4]


def test_the_ranks_of_a_relaunched_job_have_the_number_of_the_job(folder: RunFolder) -> None:
    assert numbers(folder, 1, call(job="a/1"), call(job="a/1", rank=1), call(2, job="a/2")) == [1, 1, 2]
    assert numbers(folder, 2, call(job="b/1", rank=1), call(job="b/1"), call(2, job="b/2", rank=1)) == [1, 1, 2]


def test_a_claim_that_was_never_written_to_its_end_keeps_its_number(folder: RunFolder) -> None:
    folder.create()
    folder.claim(1, 1).touch()
    assert claim(folder, 1, call()).number == 2


def test_a_lock_that_is_never_given_back_holds_nobody_up_for_long(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_claims, "LOCK_WAIT_S", 0.05)
    folder.create()
    with folder.claims_lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert numbers(folder, 1, call(), call(2)) == [1, 2]


def test_a_folder_that_cant_be_written_is_said_and_the_place_in_the_process_has_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClaimError, match="can't claim its number"):
        claim(RunFolder(tmp_path / "file"), 1, call())
    assert [unclaimed(1, call(n)).number for n in (1, 2)] == [1, 2]


# --- whole processes ----------------------------------------------------------------------------------------------

BEGIN = "from trainer_hooks.trainings import TrainingName, begin_training\n"
SAY = (
    BEGIN
    + "def say(): i = begin_training(TrainingName('t.py:1', 'd')).identity; print(i.training, i.rank, flush=True)\n"
)


def run(code: str, home: Path, more: Mapping[str, str], generation: int = 1) -> list[tuple[int, ...]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWARDEN_")} | {
        "TRAINWARDEN_HOME": str(home),
        "TRAINWARDEN_RUN": "night",
        "TRAINWARDEN_GENERATION": str(generation),
        "TRAINWARDEN_NONCE": "n",
        "PYTHONPATH": str(ROOT),
        **more,
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(int(word) for word in line.split()) for line in done.stdout.splitlines()]


RANKED = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "LOCAL_RANK": "0"}
CHILD = SAY + "import subprocess, sys, os\nsay()\nsubprocess.run([sys.executable, '-c', os.environ['CHILD']])\nsay()"


def test_children_get_numbers_of_their_own_whatever_they_inherit(tmp_path: Path) -> None:
    """Rank 1 of a job starts a process that trains as well: it has the rank's whole environment."""
    found = run(CHILD, tmp_path, {**RANKED, "RANK": "1", "CHILD": SAY + "say()"})
    assert found == [(1, 1), (2, 0), (3, 1)]
    assert run(SAY + "say(); say()", tmp_path, {**RANKED, "RANK": "0"}) == [(1, 0), (3, 0)]


def test_forked_children_count_their_own_trainings(tmp_path: Path) -> None:
    code = SAY + "import os\nsay()\nif os.fork() == 0:\n    say()\n    os._exit(0)\nos.wait()\nsay()"
    assert run(code, tmp_path, {}) == [(1, 0), (2, 0), (3, 0)]
    assert [read(path, TrainingClaim).position for path in sorted((tmp_path / "runs/night").glob("training-*"))] == [
        1,
        1,
        2,
    ]
    assert run(code, tmp_path, {}, generation=2) == [(1, 0), (2, 0), (3, 0)]
