"""Every metric of a run, a row each. Pure. The names and labels are public (docs/metrics.md)."""

from __future__ import annotations

from monitor.core.detectors import incident_families
from monitor.core.model import Severity
from monitor.core.state.epochs import batches_unseen, totals_of_run
from monitor.daemon.metrics import readings
from monitor.daemon.metrics.measure import (
    Measure,
    by_gpu,
    by_gpu_and,
    by_rank,
    by_rank_and,
    count,
    counts,
    last,
    of_run,
    of_trainings,
)
from trainer_hooks.wire.words import NOT_DONE, OrderKind, OrderOutcome

INFO_LABELS = ("title", "framework", "framework_version", "torch", "device")
ORDER_KINDS = (OrderKind.STOP, OrderKind.ADJUST, OrderKind.GO_BACK)
ORDER_OUTCOMES = (OrderOutcome.APPLIED, *NOT_DONE)

GAUGES = (
    Measure("up", "1 while the training's process is believed to live.", of_run(lambda run, _: run.alive)),
    Measure("run_info", "What the run is; always 1.", readings.info, INFO_LABELS),
    Measure("generation", "Process life of the run, from 1.", of_run(lambda run, _: run.generation)),
    Measure("epoch", "Epoch as the framework prints it, from 1.", of_run(readings.epoch)),
    Measure("step", "Optimizer steps attempted since the run began, skipped ones included.", count("steps")),
    Measure("batches_per_epoch", "Batches of one epoch.", of_run(readings.batches_per_epoch)),
    Measure(
        "last_batch_timestamp_seconds", "When the last batch arrived, Unix time.",
        by_rank(lambda rank: rank.last_batch_s), ("rank",),
    ),
    Measure("eta_timestamp_seconds", "When the training ends at its own pace, Unix time.", of_run(readings.eta)),
    Measure(
        "deadline_timestamp_seconds", "When it has to be done, Unix time.", of_run(lambda run, _: run.spec.deadline_s)
    ),
    Measure(
        "loss", "Loss of the last batch, total and by part; may be NaN.",
        by_rank_and(readings.parts), ("part", "rank"),
    ),
    Measure("grad_norm", "L2 norm of the gradient before clipping; may be NaN.", last("grad_norm"), ("rank",)),
    Measure("learning_rate", "What each parameter group really uses.", by_rank_and(readings.rates), ("group", "rank")),
    Measure("loss_scale", "Scale of mixed precision.", last("loss_scale"), ("rank",)),
    Measure("weight_decay", "Of the group that decays most.", last("weight_decay"), ("rank",)),
    Measure("momentum", "Momentum, or beta1.", last("momentum"), ("rank",)),
    Measure("clip_norm", "Norm that gradients are clipped to.", last("clip_norm"), ("rank",)),
    Measure("gpu_memory_bytes", "Memory of the caching allocator.", by_rank_and(readings.memory), ("kind", "rank")),
    Measure("checkpoints", "Copies kept, by what may be believed of them.", readings.checkpoints, ("verdict",)),
    Measure(
        "last_checkpoint_timestamp_seconds", "When the newest clean checkpoint was saved, Unix time.",
        of_run(readings.last_checkpoint),
    ),
    Measure(
        "last_snapshot_timestamp_seconds",
        "When the newest clean snapshot within an epoch was taken, Unix time. Absent where none was.",
        of_run(readings.last_snapshot),
    ),
    Measure(
        "unwatched_parts", "Parts of the watch that are missing since a hook was switched off; 0 is well.",
        of_run(lambda run, _: sum(len(training.unwatched) for training in run.trainings.values())),
    ),
    Measure(
        "incident_opened_timestamp_seconds",
        "When each incident opened, Unix time: those that are open, and the newest five. `report` is a path here.",
        readings.opened, ("incident", "family", "severity", "state", "report"),
    ),
    Measure("incident_open", "Incidents that something may still come of.", readings.incident_open, ("severity",)),
    Measure(
        "alerts_pending", "Alerts that a receiver has not taken yet.",
        of_run(lambda run, around: around.alerts_pending.get(run.spec.run, 0)),
    ),
    Measure(
        "host_memory_bytes",
        "Of this host, and the resident memory of the run's processes; a page they share counts for each.",
        readings.host_memory, ("kind",),
    ),
    Measure(
        "gpu_driver_up", "1 while the driver of the run's GPUs answers; only for a run that uses an NVIDIA or AMD GPU.",
        of_run(readings.driver_up),
    ),
    Measure("nvml_up", "1 while NVML answers; only for a run that uses an NVIDIA GPU.", of_run(readings.nvml_up)),
    Measure(
        "gpu_info", "Which device it is; always 1. Other exporters know it by its UUID.",
        readings.gpus, ("gpu", "uuid", "model"),
    ),
    Measure("gpu_utilization_ratio", "Share of time in which a kernel ran.", by_gpu(readings.utilization), ("gpu",)),
    Measure(
        "gpu_memory_used_bytes", "Of the whole device, whoever uses it.",
        by_gpu(lambda gpu: gpu.device.memory_used_bytes), ("gpu",),
    ),
    Measure(
        "gpu_temperature_celsius", "Of the chip; of an AMD card at its hottest spot, where it has a sensor there.",
        by_gpu(lambda gpu: gpu.device.temperature_celsius), ("gpu",)
    ),
    Measure("gpu_power_watts", "Of the whole board.", by_gpu(readings.power), ("gpu",)),
    Measure("gpu_fan_ratio", "Speed of the fan, as a share of its highest.", by_gpu(readings.fan), ("gpu",)),
    Measure(
        "gpu_throttled", "1 while the clocks are held down for this reason.",
        by_gpu_and(readings.throttled), ("gpu", "reason"),
    ),
    Measure(
        "gpu_remapped_rows", "Rows of memory replaced by spares, over the device's life.",
        by_gpu_and(readings.remapped), ("gpu", "kind"),
    ),
)  # fmt: skip

COUNTERS = (
    Measure(
        "machine_deaths", "Times that the machine was started again while the run trained.",
        of_run(lambda run, _: run.machine_deaths),
    ),
    Measure("batches", "Batches trained, repeated ones included.", count("batches")),
    Measure(
        "nonfinite_batches",
        "Batches with a NaN or an infinity, by where it was seen; one batch often shows in several, and once in any.",
        counts({
            "any": "nonfinite_batches", "loss": "nonfinite_loss", "gradient": "nonfinite_gradient",
            "parameter": "nonfinite_parameter", "buffer": "nonfinite_buffer",
        }),
        ("kind",),
    ),
    Measure(
        "skipped_steps", "Optimizer steps dropped, by whom.",
        counts({"guard": "skipped_by_guard", "scaler": "skipped_by_scaler", "script": "skipped_by_script"}), ("by",),
    ),
    Measure("scaler_overflows", "Isolated overflows of mixed precision; they are normal.", count("scaler_overflows")),
    Measure(
        "orders", "Orders to the trainer that were answered.",
        of_trainings(
            lambda training: training.ledger.counters.orders,
            [f"{kind}/{outcome}" for kind in ORDER_KINDS for outcome in ORDER_OUTCOMES],
        ),
        ("kind", "outcome"),
    ),
    Measure(
        "rollbacks", "Rollbacks, by how they ended.",
        of_trainings(lambda training: training.ledger.counters.rollbacks, ("applied", "failed")), ("outcome",),
    ),
    Measure("batches_lost", "Batches thrown away by rollbacks.", of_run(readings.discarded)),
    Measure(
        "incidents", "Incidents opened.",
        of_trainings(
            lambda training: training.ledger.counters.incidents,
            [f"{family}/{severity}" for family in incident_families() for severity in Severity],
        ),
        ("family", "severity"),
    ),
    Measure(
        "findings",
        "Findings of detectors, once for each streak of one detector about one rank, incidents' ones included. "
        "From 0, but for the infos of a detector that can warn: they show with the first one.",
        readings.findings, ("detector", "severity"),
    ),
    Measure(
        "frames_dropped", "Frames that were refused, and records that the hook's full ring dropped.",
        of_run(lambda run, _: run.frames_refused + totals_of_run(run).records_dropped),
    ),
    Measure(
        "batches_unseen", "Batches that were counted by their process, and of which no record arrived.",
        of_run(lambda run, _: batches_unseen(run)),
    ),
    Measure(
        "messages_refused", "Messages of the daemon that a hook could not take: unreadable, or for another process.",
        count("messages_refused"),
    ),
    Measure(
        "checkpoint_copies_lost",
        "Checkpoints of which no copy is kept: a newer one came before it was copied, or nobody adopted the copy.",
        count("copies_lost"),
    ),
    Measure("hook_errors", "Hooks that failed, and training went on.", count("hook_errors")),
    Measure("alerts_sent", "Alerts settled, by receiver.", readings.alerts_sent, ("receiver", "outcome")),
    Measure(
        "gpu_ecc_errors", "Memory errors over the device's life, as its board counts them.",
        by_gpu_and(readings.ecc), ("gpu", "kind"),
    ),
    Measure(
        "gpu_xid_errors", "XID errors that the driver raised while this daemon looked.",
        by_gpu_and(lambda gpu: [(str(xid), times) for xid, times in sorted(gpu.xids.items())]), ("gpu", "xid"),
    ),
    Measure(
        "gpu_readings_refused", "Values of the driver beyond what can be, which are not shown.",
        by_gpu(lambda gpu: gpu.refused), ("gpu",),
    ),
)  # fmt: skip
