"""Whether a process is a rank: what the environment says is believed only of whom it was said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_hooks.job import ALONE, ENV_RANK_OF, Job, job_of_this_process, launch_key

ROOT = Path(__file__).resolve().parents[3]
LAUNCHED = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_a_launched_rank_is_one_each_time_it_is_asked() -> None:
    environment = dict(LAUNCHED)
    assert [job_of_this_process(environment) for _ in range(2)] == [Job(launch_key(LAUNCHED), 1)] * 2
    assert environment[ENV_RANK_OF].startswith(f"{os.getpid()} ")


@pytest.mark.parametrize(
    "environment",
    [{}, {"RANK": "1"}, {"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "2"}, {**LAUNCHED, "RANK": "one"}],
    ids=["nothing", "a rank of nothing", "a job of one", "no rank", "no number"],
)
def test_a_process_that_no_launcher_made_a_rank_is_alone(environment: dict[str, str]) -> None:
    assert job_of_this_process(environment) == ALONE
    assert ENV_RANK_OF not in environment


def test_a_child_of_a_rank_is_alone_and_a_rank_that_it_launches_is_one() -> None:
    environment = dict(LAUNCHED)
    job_of_this_process(environment)
    mark = environment[ENV_RANK_OF].partition(" ")[2]
    inherited = {**LAUNCHED, ENV_RANK_OF: f"1 {mark}"}
    assert job_of_this_process(inherited) == ALONE
    assert job_of_this_process({**inherited, "MASTER_PORT": "29501"}).rank == 1


GROUP = """
import os, sys
import torch.distributed as dist
from trainer_hooks.job import job_of_this_process
rank = int(sys.argv[1])
store = dist.FileStore(sys.argv[2], 2)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
print(*job_of_this_process(), flush=True)
if os.fork() == 0:
    print("fork", job_of_this_process().key == "", flush=True)
    os._exit(0)
os.wait()
dist.barrier()
"""


def test_ranks_of_a_group_that_no_environment_names_agree_on_a_key(tmp_path: Path) -> None:
    """As a launcher does that sets no RANK at all."""
    pytest.importorskip("torch")
    unset = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", ENV_RANK_OF}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", GROUP, str(rank), str(tmp_path / "store")],
            env=environment, stdout=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [rank.communicate(timeout=120)[0].splitlines() for rank in ranks]
    assert [lines[0].split()[1] for lines in said] == ["0", "1"]
    assert said[0][0].split()[0] == said[1][0].split()[0]
    assert [lines[1] for lines in said] == ["fork True", "fork True"]
