"""The night the project exists for, as the state a daemon would hold in the morning: by hand, in its real figures.

50 epochs of 41,163 batches; three clean epochs; from batch 32 of epoch 4 on 73 of 7,550 batches are NaN, 72 steps are
skipped; reserved GPU memory goes from 4.20 to 4.71 GB; 15 h 34 min have passed; the deadline is "the 27th".
"""

from __future__ import annotations

from datetime import datetime, timezone

from monitor.core.model import (
    ActionKind,
    FactsAtOpen,
    Finding,
    Incident,
    IncidentAction,
    IncidentEntry,
    IncidentState,
    IncidentTotals,
    Option,
    Position,
    Severity,
    Verdict,
)
from monitor.core.policy.settings import Policy
from monitor.core.state.rows import CheckpointState, EpochRow
from monitor.core.state.run import LastBatch, RankState, RunState, TrainingState
from trainer_hooks.wire.messages import BatchEnded, Counts, NonfiniteSeen, TrainingStarted
from trainer_hooks.wire.plan import Change, Checkpoint, GroupSettings, Plan, Settings
from trainer_hooks.wire.run_documents import RunSpec

BATCHES_PER_EPOCH = 41_163
EPOCHS = 50
BATCHES_SEEN = 7_550  # of epoch 4
RUNTIME_S = 15 * 3600 + 34 * 60
NOW_S = datetime(2025, 11, 18, 8, 0, tzinfo=timezone.utc).timestamp()
START_S = NOW_S - RUNTIME_S
DEADLINE_S = datetime(2025, 11, 28, tzinfo=timezone.utc).timestamp()  # the end of the 27th
RESERVED_BEFORE, RESERVED_AFTER = int(4.20 * 2**30), int(4.71 * 2**30)  # bytes; "GB" on the trainer's progress bar
PACE_S = RUNTIME_S / (3 * BATCHES_PER_EPOCH + BATCHES_SEEN)
EPOCH_S = BATCHES_PER_EPOCH * PACE_S
ONSET = Position(1, 4, 32, 3 * BATCHES_PER_EPOCH + 33)
LEFT = Position(1, 4, BATCHES_SEEN - 1, 3 * BATCHES_PER_EPOCH + BATCHES_SEEN)
DIGEST = "3a" * 32


def night() -> tuple[RunState, Incident]:
    """The run and its incident at the moment the rollback is decided and the training has left its loop."""
    run = RunState(
        spec=RunSpec(
            run="night-1",
            title="YOLO, the night run",
            argv=("python", "train.py"),
            cwd="/data",
            created_s=START_S,
            act=True,
            deadline_s=DEADLINE_S,
        ),
        policy=Policy().model_dump_json(),
        opened_s=START_S,
        generation=1,
        alive=True,
        trainings={
            1: TrainingState(
                1,
                generation=1,
                started=training(),
                epochs=[_clean_epoch(n) for n in (1, 2, 3)] + [_bad_epoch()],
                ranks={0: _rank()},
                checkpoints=[_best_of_first(), _last_of_third()],
                nonfinite_log=[(1, _first_bad_batch())],
            )
        },
    )
    incident = _incident()
    run.training.ledger.incidents.append(incident)
    return run, incident


def training() -> TrainingStarted:
    """As the hook announced it."""
    settings = {
        "lr0": "0.0005", "lrf": "0.01", "momentum": "0.9", "weight_decay": "0.0005", "warmup_epochs": "5.0",
        "warmup_bias_lr": "0.1", "warmup_momentum": "0.8", "optimizer": "SGD", "batch": "16", "nbs": "64",
        "imgsz": "640", "amp": "True", "epochs": str(EPOCHS),
    }  # fmt: skip
    return TrainingStarted(
        wall_s=START_S,
        framework="ultralytics",
        versions={"ultralytics": "8.4.190", "torch": "2.14.1"},
        settings=settings,
        part_names=("box_loss", "cls_loss", "dfl_loss"),
        group_names=("weight", "bn", "bias"),
        group_rates=(0.0005, 0.0005, 0.0005),
        epochs=EPOCHS,
        start_epoch=1,
        batches_per_epoch=BATCHES_PER_EPOCH,
        world_size=1,
        ordinal=1,
        save_dir="/data/runs/detect/train",
        run_folder="/data/state/runs/night-1",
        pid=4242,
        device="cuda:0",
        arguments_digest="9f" * 32,
        scaler_enabled=True,
    )


def _clean_epoch(epoch: int) -> EpochRow:
    started_s = START_S + (epoch - 1) * EPOCH_S
    return EpochRow(
        generation=1,
        epoch=epoch,
        batches_per_epoch=BATCHES_PER_EPOCH,
        started_s=started_s,
        ended_s=started_s + EPOCH_S,
        batches=BATCHES_PER_EPOCH,
        part_sums=[(2.0 - epoch / 10 - part / 3) * BATCHES_PER_EPOCH for part in range(3)],
        part_counts=[BATCHES_PER_EPOCH] * 3,
        reserved_first=RESERVED_BEFORE,
        reserved_max=RESERVED_BEFORE,
        allocated_max=3_100_000_000,
        instances_max=212,
        instances_max_at=20_100,
        reserved_max_at=0,
        rates_first=(0.0001 * (epoch - 1), 0.0001 * (epoch - 1), 0.1 - 0.02 * (epoch - 1)),
        rates_last=(0.000282, 0.000282, 0.0403) if epoch == 3 else (0.0001 * epoch, 0.0001 * epoch, 0.1 - 0.02 * epoch),
        momentum_last=0.8 + 0.01 * epoch,
        status="ended",
    )


def _bad_epoch() -> EpochRow:
    return EpochRow(
        generation=1,
        epoch=4,
        batches_per_epoch=BATCHES_PER_EPOCH,
        started_s=START_S + 3 * EPOCH_S,
        batches=BATCHES_SEEN,
        nonfinite=73,
        skipped_by_guard=0,
        skipped_by_scaler=72,
        part_sums=[1.62 * (BATCHES_SEEN - 73), 1.3 * (BATCHES_SEEN - 73), 0.97 * (BATCHES_SEEN - 73)],
        part_counts=[BATCHES_SEEN - 73] * 3,
        reserved_first=RESERVED_BEFORE,
        reserved_max=RESERVED_AFTER,
        allocated_max=3_600_000_000,
        instances_max=731,
        instances_max_at=2_417,
        reserved_max_at=2_417,
        rates_first=(0.000282, 0.000282, 0.0403),
        rates_last=(0.0003, 0.0003, 0.037),
        momentum_last=0.83,
    )


def _rank() -> RankState:
    counts = Counts(
        batches=LEFT.count,
        steps=LEFT.count // 3,  # accumulation grows to 4 while warm-up is on
        nonfinite_batches=73,
        nonfinite_loss=73,
        nonfinite_gradient=72,
        skipped_by_scaler=72,
    )
    batch = BatchEnded(
        NOW_S, NOW_S, LEFT.epoch, LEFT.batch, BATCHES_PER_EPOCH, counts, loss=40.0, momentum=0.83,
        learning_rates=(0.0003, 0.0003, 0.037),
    )  # fmt: skip
    last = LastBatch(LEFT, batch)
    return RankState(rank=0, counts=counts, last_batch_s=NOW_S, last=last)


def _best_of_first() -> CheckpointState:
    return CheckpointState(
        manifest_name="1.json",
        digest="1b" * 32,
        epoch=1,
        generation=1,
        saved_s=START_S + EPOCH_S,
        count=BATCHES_PER_EPOCH,
        is_best=True,
        verdict=Verdict.SOUND,
        reasons=["542 tensors finite"],
        healthy_longest=20,
    )


def _last_of_third() -> CheckpointState:
    return CheckpointState(
        manifest_name="3.json",
        digest=DIGEST,
        epoch=3,
        generation=1,
        saved_s=START_S + 3 * EPOCH_S,
        count=3 * BATCHES_PER_EPOCH,
        verdict=Verdict.SOUND,
        reasons=["bytes as saved", "542 tensors finite", "57 BatchNorm layers with running_var above 0"],
        healthy_longest=20,
    )


def _first_bad_batch() -> NonfiniteSeen:
    return NonfiniteSeen(
        wall_s=START_S + 3 * EPOCH_S,
        epoch=4,
        batch=32,
        nonfinite=3,
        loss=float("nan"),
        parts=(float("nan"),) * 3,
        grad_norm=None,
        cured=True,
        samples=("000000123.jpg",),
        samples_partial=True,
        first_bad="",
    )


def _incident() -> Incident:
    finding = Finding(
        detector="nonfinite_rate",
        family="nonfinite",
        severity=Severity.CRITICAL,
        rank=0,
        at=LEFT,
        since=ONSET,
        signal="loss",
        value=0.0097,
        limit=0.005,
        summary="73 of the last 7,518 batches were not finite",
    )
    return Incident(
        id="night-1-i1",
        number=1,
        family="nonfinite",
        severity=Severity.CRITICAL,
        state=IncidentState.MITIGATING,
        opened_s=NOW_S - 60,
        opened_at=LEFT,
        onset=ONSET,
        findings=[finding],
        timeline=[IncidentEntry(NOW_S - 60, "incident 1 opened"), IncidentEntry(NOW_S - 30, "rolling back to epoch 3")],
        at_open=FactsAtOpen(
            settings=_settings(),
            samples=["000000123.jpg"],
            options=[
                Option("go back with strengthened settings", "back to epoch 3", True),
                Option("go on", "about 400 by the end", False),
            ],
        ),
        action=IncidentAction(
            ActionKind.ROLLBACK,
            "epoch 3 is the newest clean checkpoint before the onset",
            plan=_plan(),
            target=DIGEST,
            left_at=LEFT,
        ),
        totals=IncidentTotals(attempts=1, rollbacks=1),
    )


def _settings() -> Settings:
    groups = tuple(
        GroupSettings(name=name, base_rate=0.0005, rate_max=0.0403 if name == "bias" else None, weight_decay=0.0005)
        for name in ("weight", "bn", "bias")
    )
    return Settings(
        groups=groups,
        clip_norm=10.0,
        momentum=0.9,
        ramp_batches=0,
        warmup_epochs=5.0,
        learning_rate=0.0005,
        weight_decay=0.0005,
    )


def _plan() -> Plan:
    return Plan(
        id="night-1-g1-o1-plan",
        run="night-1",
        generation=2,
        kind="rollback",
        order="night-1-g1-o1",
        incident="night-1-i1",
        reason="epoch 3 is the newest clean checkpoint before the onset",
        ordinal=1,
        arguments_digest="9f" * 32,
        save_dir="/data/runs/detect/train",
        checkpoint=Checkpoint(path="/data/state/runs/night-1/.vault/3a.pt", digest=DIGEST, epoch=3),
        best=None,
        start_epoch=4,
        settings=_settings(),
        changes=(Change(setting="learning rate (lr0)", old="0.0005", new="0.00025"),),
        seed_offset=1009,
        onset_samples=("000000123.jpg",),
        grace_s=30.0,
        written_s=NOW_S,
    )
