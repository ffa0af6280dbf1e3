"""A relaunch resumes from its plan, however the training is started, or does not start at all."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness import plans
from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Ended, Lab, train
from trainer_hooks.integrations.ultralytics.plan_settings import group_names
from trainer_hooks.wire.messages import OrderApplied, PlanApplied, TrainingEnded, TrainingStarted
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.runfolder import ENV_GENERATION, ENV_HOME, ENV_NONCE, ENV_PLAN, ENV_RUN

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Stopped:
    """A first generation that was ordered to leave in its second epoch, and where its clean checkpoint lies."""

    ended: Ended
    folder: Path
    checkpoint: Any

    def plan(self, **changes: Any) -> Plan:
        started = self.ended.probe.starts[0]
        known = {
            "checkpoint": self.checkpoint,
            "save_dir": started.save_dir,
            "arguments_digest": started.arguments_digest,
            "settings": plans.settings(started.group_names),
        }
        return plans.plan(**known | changes)


@pytest.fixture(scope="session")
def weights(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pretrained weights: what a training of one epoch leaves."""
    folder = tmp_path_factory.mktemp("weights")
    ended = train(lab.arguments(folder, epochs=1), lab.model, None)
    best: Path = ended.trainer.best
    return best.rename(folder / "pre.pt")


def first_generation(lab: Lab, folder: Path, model: Path | str, **overrides: Any) -> Stopped:
    probe = RecordingProbe(folder)
    probe.orders[lab.batches + 3] = plans.order("stop")
    ended = train(lab.arguments(folder, **overrides), model, probe)
    assert isinstance(ended.error, SystemExit)
    assert ended.error.code == 75
    return Stopped(ended, folder, plans.checkpoint(folder, probe.checkpoints[0]["bytes"]))


@pytest.fixture
def stopped(lab: Lab, tmp_path: Path) -> Stopped:
    return first_generation(lab, tmp_path, lab.model)


def relaunch(
    lab: Lab, stopped: Stopped, model: Path | str, monkeypatch: pytest.MonkeyPatch, plan: Plan, **overrides: Any
) -> Ended:
    monkeypatch.setenv(ENV_PLAN, str(plans.write(stopped.folder, plan)))
    return train(lab.arguments(stopped.folder, **overrides), model, RecordingProbe(stopped.folder))


def assert_resumed(ended: Ended) -> None:
    assert ended.error is None
    assert [row["epoch"] for row in ended.csv] == [1, 2, 3]
    (started,) = ended.probe.starts
    assert (started.start_epoch, started.plan_id) == (2, "plan-1")


def rates_by_group(ended: Ended) -> dict[str, tuple[float, ...]]:
    """What each parameter group used, batch by batch. Their order differs between releases."""
    rates = zip(*(record.learning_rates for record in ended.probe.batches), strict=True)
    return dict(zip(ended.probe.starts[0].group_names, rates, strict=True))


def test_an_order_to_stop_leaves_a_receipt_and_a_resumable_checkpoint(stopped: Stopped) -> None:
    probe = stopped.ended.probe
    (receipt,) = probe.of(OrderApplied)
    assert (receipt.outcome, receipt.epoch, receipt.batch) == ("applied", 2, 2)
    (end,) = probe.of(TrainingEnded)
    assert (end.how, end.detail) == ("order", "test")
    from ultralytics.utils.patches import torch_load

    assert torch_load(stopped.ended.trainer.last, map_location="cpu")["optimizer"] is not None


@pytest.mark.parametrize(("start", "exist_ok"), [("yaml", False), ("pt", True)])
def test_a_relaunch_resumes_at_the_plans_epoch_with_its_settings(
    lab: Lab, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, exist_ok: bool
) -> None:
    """With `exist_ok` off Ultralytics would number a new folder; with it on it would empty the old one."""
    model = lab.model if start == "yaml" else weights
    stopped = first_generation(lab, tmp_path, model, exist_ok=exist_ok)
    ended = relaunch(lab, stopped, model, monkeypatch, stopped.plan(), exist_ok=exist_ok)
    assert_resumed(ended)
    records = ended.probe.batches
    assert all(record.clip_norm == 5.0 and record.momentum == 0.85 for record in records)
    assert all(record.weight_decay == 0.001 for record in records)
    rates = rates_by_group(ended)
    assert max(rates["bias"]) <= plans.RATE_MAX_OF_BIAS
    assert rates["weight"][0] < 0.005 / 12
    assert [record.ramp is None for record in records] == [False] * 11 + [True] * 5
    applied = ended.probe.of(PlanApplied)
    assert [(event.when, event.mismatches) for event in applied] == [("first step", ()), ("ramp end", ())]
    assert applied[0].read_back["learning_rate/bias"] == "0.005"
    order = [type(event) for event in ended.probe.events]
    assert order.index(TrainingStarted) < order.index(PlanApplied)


def test_a_resumed_epoch_draws_its_samples_in_another_order_and_meets_those_of_the_onset(
    lab: Lab, stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [set(names) for names in stopped.ended.faults.samples]
    onset = tuple(sorted(first[0] | first[1]))
    ended = relaunch(lab, stopped, lab.model, monkeypatch, stopped.plan(onset_samples=onset))
    assert_resumed(ended)
    assert [set(names) for names in ended.faults.samples[: lab.batches]] != first[: lab.batches]
    left = [record.onset_samples_left for record in ended.probe.batches]
    assert left[0] is not None
    assert len(onset) >= left[0] > 0
    assert left[lab.batches - 1] == 0, "an epoch meets every sample"


def test_a_second_training_of_the_process_knows_nothing_of_the_plan(
    lab: Lab, stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = relaunch(lab, stopped, lab.model, monkeypatch, stopped.plan())
    assert_resumed(ended)
    from ultralytics import YOLO

    second = YOLO(str(lab.model))
    second.train(**lab.arguments(tmp_path / "second", epochs=1))
    starts = ended.probe.starts
    assert [(start.ordinal, start.plan_id, start.start_epoch) for start in starts] == [(1, "plan-1", 2), (2, "", 1)]
    assert starts[1].settings["lr0"] == "0.01"
    assert ended.probe.batches[-1].clip_norm == 10.0


def refused(lab: Lab, stopped: Stopped, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """A start under the plan at `path` exits with 75 before the first batch, and deletes nothing."""
    run = Path(stopped.ended.trainer.save_dir)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    monkeypatch.setenv(ENV_PLAN, str(path))
    ended = train(lab.arguments(stopped.folder), lab.model, probe := RecordingProbe(stopped.folder))
    assert isinstance(ended.error, SystemExit)
    assert ended.error.code == 75
    assert probe.batches == []
    kept = {file: file.read_bytes() for file in before if file.exists() and file.name != "args.yaml"}
    assert kept == {file: data for file, data in before.items() if file.name != "args.yaml"}


def test_a_plan_that_does_not_hold_ends_the_start_with_75_and_deletes_nothing(
    lab: Lab, stopped: Stopped, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = stopped.folder / "changed.pt"
    changed.write_bytes(b"something else")
    checkpoint = stopped.checkpoint
    of_other_groups = plans.settings(groups=plans.settings().groups[:2])
    faults: dict[str, Path | Plan] = {
        "can't be read": stopped.folder / "lost.json",
        "has sha256": stopped.plan(checkpoint=type(checkpoint)(path=str(changed), digest=checkpoint.digest, epoch=1)),
        "its arguments have changed": stopped.plan(arguments_digest="0" * 64),
        "resumes at 3": stopped.plan(start_epoch=3),
        "would write to": stopped.plan(save_dir=str(stopped.folder / "elsewhere")),
        "parameter groups are": stopped.plan(settings=of_other_groups),
        "names no checkpoint": stopped.plan(checkpoint=None),
    }
    for says, fault in faults.items():
        path = fault if isinstance(fault, Path) else plans.write(stopped.folder, fault)
        refused(lab, stopped, monkeypatch, path)
        assert says in capsys.readouterr().err


def environment(stopped: Stopped, **more: str) -> dict[str, str]:
    plan = plans.write(stopped.folder, stopped.plan(arguments_digest=""))
    return os.environ | {
        ENV_RUN: "r",
        ENV_HOME: str(stopped.folder / "home"),
        ENV_GENERATION: "2",
        ENV_NONCE: "nonce",
        ENV_PLAN: str(plan),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def rows(stopped: Stopped) -> list[int]:
    lines = (stopped.folder / "run" / "results.csv").read_text().split()[1:]
    return [int(float(line.split(",")[0])) for line in lines]


def test_the_bare_command_line_resumes_with_no_change_to_anybodys_code(lab: Lab, stopped: Stopped) -> None:
    arguments = [f"{name}={value}" for name, value in lab.arguments(stopped.folder).items()]
    command = [str(Path(sys.executable).with_name("yolo")), "detect", "train", f"model={lab.model}", *arguments]
    autoattach = REPOSITORY / "trainer_hooks" / "autoattach"
    result = subprocess.run(
        command, env=environment(stopped, PYTHONPATH=str(autoattach)), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert "Resuming training" in result.stdout
    assert rows(stopped) == [1, 2, 3]


def test_the_children_of_a_ddp_launch_resume_too(
    lab: Lab, stopped: Stopped, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that Ultralytics writes for its ranks, run as one process. The parent holds a model built beforehand."""
    import ultralytics.engine.trainer as trainer_module
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils.dist import generate_ddp_file

    from trainer_hooks.integrations.ultralytics import attach
    from trainer_hooks.integrations.ultralytics.process import Process, Training, connect_probe, describe_to_children

    for name, value in environment(stopped).items():
        monkeypatch.setenv(name, value)
    attach(trainer_module, connect=lambda _: stopped.ended.probe)
    parent = DetectionTrainer(overrides=lab.arguments(stopped.folder) | {"model": str(lab.model)})
    assert parent.resume, "else Ultralytics removes the folder of the run"
    parent.model = parent.get_model(cfg=str(lab.model), verbose=False)
    file = generate_ddp_file(parent)
    launched = environment(stopped) | describe_to_children(Process(connect_probe), Training(1, "digest"))
    result = subprocess.run(
        [sys.executable, file], cwd=REPOSITORY, env=launched, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert rows(stopped) == [1, 2, 3]
    events = stopped.folder / "home" / "runs" / "r" / "spool" / "events-2-1-0.bin"
    assert b"first step" in events.read_bytes()


def test_orders_that_cant_be_obeyed_are_refused_and_training_goes_on(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    probe.orders = {
        2: plans.order("stop", "plan-2.json", 1),
        3: plans.order("adjust", "", 2),
        4: plans.order("dance", "", 3),
    }
    ended = train(lab.arguments(tmp_path, epochs=1), lab.model, probe)
    assert ended.error is None
    answers = probe.of(OrderApplied)
    assert [(answer.order_id, answer.outcome) for answer in answers] == [(f"order-{n}", "refused") for n in (1, 2, 3)]
    assert "plan-2.json: can't be read" in answers[0].detail
    assert len(probe.batches) == lab.batches


def test_settings_adjusted_in_place_are_in_force_from_the_next_batch(
    lab: Lab, probe: RecordingProbe, tmp_path: Path
) -> None:
    def plan(trainer: Any) -> None:
        settings = plans.settings(group_names(trainer.optimizer))
        plans.write(probe.root, plans.plan(kind="adjust", settings=settings), "adjust-order-1.json")

    probe.orders[10] = plans.order("adjust")
    ended = train(lab.arguments(tmp_path), lab.model, probe, callbacks={"on_train_start": plan})
    assert ended.error is None
    (answer,) = probe.of(OrderApplied)
    assert answer.outcome == "applied"
    assert answer.read_back["clip_norm"] == "5"
    before, after = probe.batches[:10], probe.batches[10:]
    assert {record.clip_norm for record in before} == {10.0}
    assert {record.clip_norm for record in after} == {5.0}
    rates = rates_by_group(ended)
    assert max(rates["bias"][10:]) <= plans.RATE_MAX_OF_BIAS
    assert rates["weight"][10] < 0.005 / 12
    assert [event.mismatches for event in probe.of(PlanApplied)] == [(), ()]
