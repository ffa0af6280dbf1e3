"""The bare `yolo` command line under `trainwarden run`: no change to anybody's code, and none to what it computes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.night_run import Daemon, Supervised, environment_of_home, fresh_home, trainwarden
from tests.harness.supervisor import NO_DAEMON, command, eventually

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

RUN = "yolo"
EPOCHS = 2
BATCHES = 20  # of an epoch
STATES = ["alone", "healthy", "killed", "stopped", "absent"]  # of the daemon; alone: without trainwarden


@dataclass(frozen=True)
class Trained:
    """A training that is over."""

    code: int
    shown: str
    save_dir: Path
    home: Path
    faults: int = 0  # how often the daemon was killed or stopped before the training was over

    def losses(self) -> list[list[str]]:
        """results.csv without its times."""
        rows = [line.split(",") for line in (self.save_dir / "results.csv").read_text().split()]
        assert rows[0][:2] == ["epoch", "time"]
        return [[row[0], *row[2:]] for row in rows]

    def weights(self) -> dict[str, Any]:
        """What last.pt would be used for."""
        from ultralytics.utils.patches import torch_load

        loaded = torch_load(self.save_dir / "weights" / "last.pt", map_location="cpu")
        state: dict[str, Any] = (loaded.get("ema") or loaded["model"]).state_dict()
        return state


@dataclass(frozen=True)
class Bench:
    """What all of the trainings share."""

    argv: tuple[str, ...]

    def argv_in(self, home: Path) -> list[str]:
        return [*self.argv, f"project={home}", "name=out"]

    def train(self, state: str, home: Path) -> Trained:
        """One training, from its command line to its end."""
        if state in ("alone", "absent"):
            return self._without_a_daemon(state, home)
        run = Supervised(home, self.argv_in(home), run=RUN)
        daemon, out, faults = Daemon(home), home / "out", 0
        run.until("the first epoch", lambda: _rows(out) > 0)
        if state == "stopped":
            faults += daemon.signal(signal.SIGSTOP) is not None and _rows(out) < EPOCHS
        while state == "killed" and run.process.poll() is None:  # as often as another one is started
            faults += daemon.kill() is not None and _rows(out) < EPOCHS
        return Trained(run.wait(), run.shown, out, home, faults)

    def _without_a_daemon(self, state: str, home: Path) -> Trained:
        argv = self.argv_in(home)
        if state == "absent":
            argv = command(argv, run=RUN, daemon_argv=NO_DAEMON)
        done = subprocess.run(
            argv,
            env=environment_of_home(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        return Trained(done.returncode, done.stdout, home / "out", home)


def _rows(save_dir: Path) -> int:
    """Epochs that are over."""
    file = save_dir / "results.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Trained]]:
    """The same training five times, two at a time; each with a daemon in another state."""
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=BATCHES * BATCH)
    given = lab.arguments(Path("unused"), epochs=EPOCHS)
    words = [f"{name}={value}" for name, value in given.items() if name not in ("project", "name", "exist_ok")]
    yolo = str(Path(sys.executable).with_name("yolo"))
    bench = Bench((yolo, "detect", "train", f"model={lab.model}", *words))
    with ExitStack() as stack:
        homes = [stack.enter_context(fresh_home()) for _ in STATES]
        with ThreadPoolExecutor(2) as pool:
            over = dict(zip(STATES, pool.map(bench.train, STATES, homes), strict=True))
        yield over


def test_the_bare_command_line_is_watched_from_its_first_batch_to_its_last(trained: dict[str, Trained]) -> None:
    over = trained["healthy"]
    assert over.code == 0, over.shown
    daemon = Daemon(over.home)
    assert f'trainwarden_batches_total{{run="{RUN}"}} {EPOCHS * BATCHES}.0' in daemon.metrics()
    assert f'trainwarden_nonfinite_batches_total{{kind="any",run="{RUN}"}} 0.0' in daemon.metrics()
    verdicts = eventually("the verdicts", lambda: verdicts_of(over))
    assert verdicts == ["clean", "clean"], "no batch has followed the last, and the training finished healthy"
    assert over.shown.count("sound (the bytes are those of the save") == EPOCHS
    assert "the training finished after epoch 2" in over.shown
    status = json.loads(trainwarden(over.home, "status", RUN, "--json").stdout)["summary"]
    assert (status["state"], status["batches"], status["skipped"]) == ("finished", EPOCHS * BATCHES, 0)


def verdicts_of(over: Trained) -> list[str]:
    """Of each epoch's checkpoint; empty while one waits for its own."""
    found = [line["verdict"] for line in json.loads(trainwarden(over.home, "checkpoints", RUN, "--json").stdout)]
    return [] if "waiting" in found else found


@pytest.mark.parametrize("state", STATES[1:])
def test_whatever_becomes_of_the_daemon_the_training_is_the_same_to_the_last_bit(
    state: str, trained: dict[str, Trained]
) -> None:
    import torch

    alone, over = trained["alone"], trained[state]
    assert (alone.code, over.code) == (0, 0), over.shown
    assert bool(over.faults) == (state in ("killed", "stopped")), "the fault did not fire"
    assert ("continues without monitoring" in over.shown) == (state == "absent") or state in ("killed", "stopped")
    assert len(over.losses()) == EPOCHS + 1
    assert over.losses() == alone.losses()
    ours, theirs = over.weights(), alone.weights()
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
