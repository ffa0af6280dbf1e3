"""A training without a framework, run as a script: what an integration does with a Probe, and nothing is computed.

For tests that need a process which streams, saves, obeys and resumes like a real training, in seconds, without torch.
The faults are exact: in every epoch from `--from-epoch` on, the batches named by `--bad` are not finite while the
learning rate is the user's own, and each batch then takes `--faulty-batch-s`, so that a daemon may be away for a while
and still find its training. `--checkpoints` holds epoch-<n>.pt, real torch files that the caller made, and poisoned.pt,
which is what the first generation saves at the end of `--poisoned-epoch`.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from pathlib import Path

import msgspec

from trainer_hooks.probe import Probe, connect
from trainer_hooks.spool import Save
from trainer_hooks.wire import document_io
from trainer_hooks.wire.messages import (
    BatchEnded,
    Counts,
    EpochEnded,
    Nonfinite,
    NonfiniteSeen,
    PlanApplied,
    TrainingEnded,
    TrainingStarted,
)
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.runfolder import ENV_PLAN

RATE = 0.01


def main() -> None:
    """Train, or go on from the plan in the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--save-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch-s", type=float, default=0.05)
    parser.add_argument("--from-epoch", type=int, default=4)
    parser.add_argument("--bad", default="10,12,14,16")
    parser.add_argument("--faulty-batch-s", type=float, default=0.15)
    parser.add_argument("--poisoned-epoch", type=int, default=0)
    options = parser.parse_args()
    plan = document_io.read(Path(os.environ[ENV_PLAN]), Plan) if ENV_PLAN in os.environ else None
    Training(options, plan, connect()).run()


class Training:
    """One process life of it."""

    def __init__(self, options: argparse.Namespace, plan: Plan | None, probe: Probe) -> None:
        self.options, self.plan, self.probe = options, plan, probe
        self.bad = frozenset(int(n) for n in options.bad.split(",") if n)
        self.rate = plan.settings.groups[0].base_rate if plan else RATE
        self.start_epoch = plan.start_epoch if plan else 1
        self.counts = Counts()
        self.weights = options.save_dir / "weights"

    def run(self) -> None:
        """Every epoch, with its checkpoint."""
        self.weights.mkdir(parents=True, exist_ok=True)
        if self.plan is None:
            (self.options.save_dir / "results.csv").write_text("epoch,loss\n")
        self.probe.event(self._started())
        for epoch in range(self.start_epoch, self.options.epochs + 1):
            for batch in range(self.options.batches):
                time.sleep(self._batch_s(epoch))
                self._batch(epoch, batch)
                self._obey(epoch, batch)
            self._end_epoch(epoch)
        self.probe.event(TrainingEnded(time.time(), "finished", "", self.options.epochs, {"metrics/mAP50(B)": 0.5}))
        self.probe.close()

    def _faulty(self, epoch: int) -> bool:
        return bool(epoch >= self.options.from_epoch and self.rate >= RATE)

    def _batch_s(self, epoch: int) -> float:
        return float(self.options.faulty_batch_s if self._faulty(epoch) else self.options.batch_s)

    def _started(self) -> TrainingStarted:
        settings = {"lr0": str(self.rate), "momentum": "0.9", "weight_decay": "0.0005", "warmup_epochs": "1"}
        return TrainingStarted(
            wall_s=time.time(),
            framework="plain",
            versions={"plain": "1"},
            settings=settings,
            part_names=("loss",),
            group_names=("weight", "bias"),
            group_rates=(self.rate, self.rate),
            epochs=self.options.epochs,
            start_epoch=self.start_epoch,
            batches_per_epoch=self.options.batches,
            world_size=1,
            ordinal=1,
            save_dir=str(self.options.save_dir),
            run_folder=str(self.probe.identity.folder.root),
            pid=os.getpid(),
            device="cpu",
            arguments_digest="plain",
            plan_id=self.plan.id if self.plan else "",
            base_weight_decays=(0.0005, 0.0),
        )

    def _batch(self, epoch: int, batch: int) -> None:
        bad = self._faulty(epoch) and batch in self.bad
        loss = math.nan if bad else 1.0 / epoch
        kinds = int(Nonfinite.LOSS | Nonfinite.GRADIENT) if bad else 0
        self.counts = msgspec.structs.replace(
            self.counts,
            batches=self.counts.batches + 1,
            steps=self.counts.steps + 1,
            nonfinite_batches=self.counts.nonfinite_batches + bad,
            nonfinite_loss=self.counts.nonfinite_loss + bad,
            nonfinite_gradient=self.counts.nonfinite_gradient + bad,
            skipped_by_guard=self.counts.skipped_by_guard + bad,
        )
        now_s = time.time()
        if bad:
            seen = NonfiniteSeen(
                now_s, epoch, batch, kinds, loss, (loss,), math.nan, True, (f"{batch}.png",), False, ""
            )
            self.probe.event(seen)
        record = BatchEnded(
            now_s,
            time.monotonic(),
            epoch,
            batch,
            self.options.batches,
            self.counts,
            loss=loss,
            parts=(loss,),
            grad_norm=math.nan if bad else 3.0,
            nonfinite=kinds,
            skipped_by="guard" if bad else "",
            cured=bad,
            learning_rates=(self.rate, self.rate),
            momentum=0.9,
            weight_decay=0.0005,
            clip_norm=self.plan.settings.clip_norm if self.plan else 10.0,
            batch_size=4,
            batch_s=self._batch_s(epoch),
            onset_samples_left=0 if self.plan else None,
        )
        self.probe.batch(record, urgent=bool(bad))
        if self.plan and self.counts.batches == 1:
            read_back = {"learning rate": str(self.rate)}
            self.probe.event(PlanApplied(now_s, self.plan.id, "first step", self.start_epoch, read_back, ()))

    def _obey(self, epoch: int, batch: int) -> None:
        order = self.probe.order()
        if order is None:
            return
        self.probe.settle(order, "applied", "", epoch, batch, {})
        self.probe.event(TrainingEnded(time.time(), "order", "", epoch, {}))
        self.probe.close(2.0)
        raise SystemExit(75)

    def _end_epoch(self, epoch: int) -> None:
        poisoned = epoch == self.options.poisoned_epoch and self.plan is None
        name = "poisoned.pt" if poisoned else f"epoch-{epoch}.pt"
        shutil.copyfile(self.options.checkpoints / name, self.weights / "last.pt")
        shutil.copyfile(self.weights / "last.pt", self.weights / "best.pt")
        with (self.options.save_dir / "results.csv").open("a") as file:
            file.write(f"{epoch},{1.0 / epoch}\n")
        fitness = 0.1 * epoch
        metrics = {"metrics/mAP50(B)": fitness}
        now_s = time.time()
        seconds = self.options.batches * self.options.batch_s
        self.probe.event(EpochEnded(now_s, epoch, seconds, (1.0 / epoch,), metrics, fitness))
        save = Save(epoch, 1, self.counts.batches, self.counts.nonfinite_batches, is_best=True, fitness=fitness)
        self.probe.checkpoint(self.weights / "last.pt", save)


if __name__ == "__main__":
    main()
