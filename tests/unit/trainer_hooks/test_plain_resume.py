"""A hand-written loop that asks where to start: begun anew from a snapshot, it ends as if never interrupted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from monitor.core.model import Verdict
from monitor.vault.verify import examine
from tests.harness import plans
from tests.harness.recorder import RecordingProbe
from trainer_hooks.integrations.plain import watch
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.snapshots import file
from trainer_hooks.wire.messages import OrderApplied, PlanApplied, TrainingStarted
from trainer_hooks.wire.plan import Checkpoint, Plan
from trainer_hooks.wire.runfolder import ENV_PLAN, ENV_SNAPSHOTS

EPOCHS, BATCHES = 3, 8
GradScaler: Any = getattr(torch.amp, "GradScaler", None)  # from torch 2.3 on; before there was none for the CPU


class Loader:
    """Shuffled batches of 4 of 32 samples; its place is in its state, as in torchdata's StatefulDataLoader."""

    def __init__(self) -> None:
        self.data = torch.linspace(-1, 1, 4 * BATCHES).view(-1, 1)
        self._epoch, self._next = 0, 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self._epoch))
        while self._next < BATCHES:
            self._next += 1
            yield self.data[order[4 * self._next - 4 : 4 * self._next]]
        self._epoch, self._next = self._epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._epoch, self._next = state["epoch"], state["next"]


class Bench:
    """A training with dropout, noise, a schedule, a scaler, an average and a loader: everything that has a state."""

    def __init__(self, folder: Path, *, asks: bool = True, **changes: Any) -> None:
        torch.manual_seed(3)
        self.probe = RecordingProbe(folder)
        self.model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 0.01)
        self.scheduler = lr_scheduler.OneCycleLR(self.optimizer, 0.05, total_steps=EPOCHS * BATCHES)
        self.scaler = GradScaler("cpu", init_scale=1024.0, growth_interval=5) if GradScaler else None
        self.average, self.loader = AveragedModel(self.model), Loader()
        known = {"epochs": EPOCHS, "batches_per_epoch": BATCHES, "scheduler": self.scheduler, "scaler": self.scaler}
        known |= {"ema": self.average, "loader": self.loader}
        self.loop = watch(self.model, self.optimizer, connect=lambda name: self.probe, **known | changes)
        self.asked = self.loop.resume() if asks else (0, 0)
        self.places: list[tuple[int, int]] = []

    def take_step(self, loss: torch.Tensor) -> None:
        if self.scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            return
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def train(self) -> dict[str, torch.Tensor]:
        """To the end; the whole state there."""
        epochs, batches = self.asked
        for epoch in range(epochs + 1, EPOCHS + 1):
            for number, x in enumerate(self.loader, batches):
                loss = (self.model(x) - x.sin() + 0.01 * torch.randn(4, 1)).square().mean()
                self.optimizer.zero_grad()
                self.take_step(loss)
                self.scheduler.step()
                self.average.update_parameters(self.model)
                self.places.append((epoch, number))
                self.loop.batch(loss, epoch=epoch)
            batches = 0
        self.loop.end()
        state = {**self.model.state_dict(), **{f"average {n}": t for n, t in self.average.state_dict().items()}}
        return state | {"drawn": torch.rand(3), "rate": torch.tensor(self.scheduler.get_last_lr())}


def plan_at(bench: Bench, folder: Path, holds: tuple[int, int], **changes: Any) -> Plan:
    path, save, copy = next(s for s in bench.probe.snapshots if (s[1].epoch, s[1].extra_batches) == holds)
    assert save.startable
    state = Checkpoint(path=str(path), digest=copy.digest, epoch=save.epoch, extra_batches=save.extra_batches)
    known = {"snapshot": state, "start_epoch": holds[0] + 1, "framework": "torch", "own_settings": True, "replay": True}
    plan = plans.plan(**known | changes)
    plans.write(folder, plan, "plan-2.json")
    return plan


@pytest.fixture(autouse=True)
def snapshots_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_SNAPSHOTS, "1e-9")
    monkeypatch.setattr("trainer_hooks.snapshots.due.SHARE_MAX", 1e9)


@pytest.mark.parametrize("holds", [(0, 3), (1, 7), (1, 8)])
def test_it_ends_bit_for_bit_as_if_it_had_not_been_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: tuple[int, int]
) -> None:
    first = Bench(tmp_path)
    assert first.asked == (0, 0)
    expected = first.train()
    plan = plan_at(first, tmp_path, holds)
    again = begun_again(tmp_path, monkeypatch)
    assert again.asked == holds
    ended = again.train()
    done = holds[0] * BATCHES + holds[1]
    assert again.places == first.places[done:]
    assert [(record.epoch, record.batch) for record in again.probe.batches] == first.places[done:]
    assert [name for name, value in expected.items() if not torch.equal(value, ended[name])] == []
    (started,) = again.probe.of(TrainingStarted)
    (applied,) = again.probe.of(PlanApplied)
    assert (started.plan_id, started.start_epoch, applied.plan_id) == (plan.id, holds[0] + 1, plan.id)


def begun_again(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Bench:
    """In a process that was started from the plan."""
    monkeypatch.setenv(ENV_PLAN, str(folder / "plan-2.json"))
    (folder / "again").mkdir(exist_ok=True)
    return Bench(folder / "again", **changes)


def test_snapshots_change_nothing_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, plain = tmp_path / "saved", tmp_path / "plain"
    saved.mkdir()
    plain.mkdir()
    first = Bench(saved)
    ended = first.train()
    assert len(first.probe.snapshots) == EPOCHS * BATCHES
    monkeypatch.delenv(ENV_SNAPSHOTS)
    bare = Bench(plain)
    expected = bare.train()
    assert bare.probe.snapshots == []
    assert [name for name, value in expected.items() if not torch.equal(value, ended[name])] == []


def test_strengthened_settings_are_in_force_from_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Bench(tmp_path)
    first.train()
    (started,) = first.probe.of(TrainingStarted)
    group = plans.GroupSettings(name="group0", base_rate=started.group_rates[0] / 4, rate_max=None, weight_decay=0.01)
    settings = plans.settings(names=("weight",))
    halved = type(settings)(**{n: getattr(settings, n) for n in settings.__struct_fields__} | {"groups": (group,)})
    plan_at(first, tmp_path, (1, 2), own_settings=False, settings=halved)
    again = begun_again(tmp_path, monkeypatch)
    again.train()
    before = {(r.epoch, r.batch): r.learning_rates[0] for r in first.probe.batches}
    assert [r.learning_rates[0] for r in again.probe.batches] == pytest.approx(
        [before[r.epoch, r.batch] / 4 for r in again.probe.batches]
    )


def test_a_plan_that_can_t_be_followed_ends_the_process_with_75_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Bench(tmp_path)
    first.train()
    plan_at(first, tmp_path, (1, 2))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"batches_per_epoch": 9}, "an epoch has 9 batches, the snapshot's had 8"),
        ({"scheduler": None}, "watch() was not given the scheduler"),
        ({"ema": None}, "average: "),
        ({"ema": object()}, "no state of this training can be put back"),
    ]
    for changes, text in cases:
        with pytest.raises(SystemExit, match="75"):
            begun_again(tmp_path, monkeypatch, **changes)
        assert text in capfd.readouterr().err
    not_asked = begun_again(tmp_path, monkeypatch, asks=False)
    with pytest.raises(SystemExit, match="75"):
        not_asked.train()
    assert "the script must call resume()" in capfd.readouterr().err
    first.probe.snapshots[BATCHES + 1][0].write_bytes(b"torn")
    with pytest.raises(SystemExit, match="75"):
        begun_again(tmp_path, monkeypatch)
    (tmp_path / "plan-2.json").write_text("{")
    with pytest.raises(SystemExit, match="75"):
        begun_again(tmp_path, monkeypatch)


@pytest.mark.parametrize("changes", [{"training": 2}, {"ordinal": 2}, {"framework": "ultralytics"}, {"snapshot": None}])
def test_a_plan_of_another_training_or_of_a_checkpoint_is_none_of_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    first = Bench(tmp_path)
    first.train()
    plan_at(first, tmp_path, (1, 2), **changes)
    again = begun_again(tmp_path, monkeypatch)
    assert again.asked == (0, 0)
    assert again.probe.of(TrainingStarted)[0].plan_id == ""


def test_a_loop_that_never_asks_or_keeps_its_schedule_to_itself_promises_no_new_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, changes in enumerate([{"asks": False}, {"scheduler": None}]):
        (tmp_path / str(number)).mkdir()
        bench = Bench(tmp_path / str(number), **changes)
        bench.train()
        assert bench.probe.snapshots
        assert not any(save.startable for _, save, _ in bench.probe.snapshots)
    assert "no new start is made from a snapshot: watch() was not given the scheduler" in caplog.text


def test_an_order_to_leave_for_a_new_start_is_obeyed_where_the_loop_asks_and_else_refused(tmp_path: Path) -> None:
    outcomes = []
    for asks in (True, False):
        (tmp_path / str(asks)).mkdir()
        bench = Bench(tmp_path / str(asks), asks=asks)
        bench.probe.orders[3] = plans.order("stop", "plan-2.json")
        if asks:
            with pytest.raises(LeaveTraining):
                bench.train()
        else:
            bench.train()
        outcomes.append(bench.probe.of(OrderApplied)[0].outcome)
    assert outcomes == ["applied", "refused"]


def test_without_a_probe_it_begins_at_the_beginning(tmp_path: Path) -> None:
    def refused(name: Any) -> Any:
        raise OSError(name)

    model = nn.Linear(1, 1)
    loop = watch(model, torch.optim.SGD(model.parameters(), 0.1), connect=refused)
    assert loop.resume() == (0, 0)


def test_the_state_of_a_plateau_scheduler_with_its_infinite_best_is_kept(tmp_path: Path) -> None:
    probe, model = RecordingProbe(tmp_path), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)
    loop = watch(model, optimizer, scheduler=scheduler, connect=lambda name: probe)
    assert loop.resume() == (0, 0)
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    loop.batch(1.0)
    path, save, copy = probe.snapshots[0]
    assert save.startable
    assert file.read(path)["scheduler"]["best"] == math.inf
    assert examine(path, copy.digest).verdict is Verdict.SOUND
