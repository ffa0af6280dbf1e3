"""Several trainings of one script: each has its number, its events and its counts, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.recorder import RecordingProbe
from tests.harness.torch_names import step_hooks
from tests.harness.yolo import Lab, train
from trainer_hooks.steps import MARK
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.eventfile import events_of, events_path, read_events
from trainer_hooks.wire.messages import Event, TrainingEnded, TrainingStarted
from trainer_hooks.wire.run_documents import TrainingClaim
from trainer_hooks.wire.runfolder import RunFolder

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from ultralytics import YOLO
from trainer_hooks.integrations.ultralytics import watch

watch()
model, folds = sys.argv[1], json.loads(sys.argv[2])
for arguments in folds:
    YOLO(model).train(**arguments)
"""


def run(lab: Lab, home: Path, generation: int, folds: int) -> None:
    """Train `folds` times in one process of that generation, at one line of one script."""
    import json

    arguments = [lab.arguments(home / f"fold-{fold}", epochs=1, val=False) for fold in range(folds)]
    script = home / "kfold.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ, "TRAINWARDEN_HOME": str(home), "TRAINWARDEN_RUN": "r", "TRAINWARDEN_NONCE": "n",
        "TRAINWARDEN_RUN_FOLDER": str(home / "runs" / "r"), "TRAINWARDEN_GENERATION": str(generation),
        "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, str(script), str(lab.model), json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def events(folder: RunFolder, generation: int, training: int) -> list[Event]:
    return [event.body for event in read_events(events_path(folder, generation, 0, training))]


def test_the_folds_of_a_script_are_trainings_of_their_own_and_keep_their_numbers_over_a_relaunch(
    lab: Lab, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "runs" / "r")
    run(lab, tmp_path, generation=1, folds=2)
    run(lab, tmp_path, generation=2, folds=3)
    assert sorted(folder.claimed()) == [(1, 1, 0), (1, 2, 0), (2, 1, 0), (2, 2, 0), (3, 2, 0)]
    claims = [read(path, TrainingClaim) for _, path in sorted(folder.claimed().items())]
    assert {claim.call_site for claim in claims} == {f"{tmp_path / 'kfold.py'}:9"}
    assert [claim.position for claim in claims] == [1, 1, 2, 2, 3]
    for generation, training in ((1, 1), (1, 2), (2, 3)):
        told = events(folder, generation, training)
        assert {event.ordinal for event in told if isinstance(event, TrainingStarted)} == {training}
        assert sum(isinstance(event, TrainingEnded) for event in told) == 1
    copies = sorted(path.name for path in folder.spool.glob("*.pt"))
    assert {name.rsplit("-", 1)[0] for name in copies} >= {"g1-t1-r0", "g1-t2-r0"}, copies
    assert all(events_of(path) for path in folder.spool.glob("events-*"))


def test_after_its_end_a_training_has_nothing_of_ours_on_it_and_counts_for_itself(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    trainers = [train(lab.arguments(tmp_path / name, epochs=1), lab.model, probe).trainer for name in ("a", "b")]
    for trainer in trainers:
        assert not step_hooks(trainer.optimizer)
        assert not hasattr(trainer.optimizer.step, MARK)
        assert "optimizer_step" not in vars(trainer)
        assert "poisoned" in repr(trainer.preprocess_batch), "what the test's own callback had put there"
        assert "update" not in vars(trainer.ema)
    assert [record.counts.batches for record in probe.batches] == [*range(1, lab.batches + 1)] * 2
