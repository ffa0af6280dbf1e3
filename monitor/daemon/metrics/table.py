"""What each metric of a run reads, one line a metric. Pure. The names and labels are public (DESIGN: Metrics)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from monitor.core.detectors import incident_families
from monitor.core.model import Incident, Severity, Verdict
from monitor.core.policy import trust
from monitor.core.policy.settings import Policy
from monitor.core.state import projection
from monitor.core.state.epochs import batches_unseen, totals_of_run
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RankState, RunState, TrainingState
from monitor.daemon.hardware.reading import THROTTLE_REASONS, Gpu, RunHardware
from trainer_hooks.wire.messages import Counts
from trainer_hooks.wire.words import NOT_DONE, OrderKind, OrderOutcome

RANKS_SHOWN = 8  # above it a gauge shows only the lowest and the highest of all ranks
INFO_LABELS = ("title", "framework", "framework_version", "torch", "device")
ORDER_KINDS = (OrderKind.STOP, OrderKind.ADJUST)
ORDER_OUTCOMES = (OrderOutcome.APPLIED, *NOT_DONE)
ALERT_OUTCOMES = ("delivered", "refused", "expired", "suppressed")


class Around(Protocol):
    """What a measure may ask beside the run's own state."""

    @property
    def now_s(self) -> float: ...
    @property
    def alerts_pending(self) -> dict[str, int]: ...
    @property
    def receivers(self) -> frozenset[tuple[str, str]]: ...
    @property
    def hardware(self) -> dict[str, RunHardware]: ...


Series = Iterable[tuple[tuple[str, ...], float | None]]
Read = Callable[[RunState, Around], Series]


class Measure(msgspec.Struct, frozen=True):
    """One metric: its name without the prefix, its help, its labels behind `run`, and its series of a run."""

    name: str
    help: str
    read: Read
    labels: tuple[str, ...] = ()


# --- ways to read ---------------------------------------------------------------------------------------------------


def _of_run(value: Callable[[RunState, Around], float | None]) -> Read:
    return lambda run, around: [((), value(run, around))]


def _by_rank(value: Callable[[RankState], float | None]) -> Read:
    """One series a rank; above RANKS_SHOWN the lowest and the highest."""
    return lambda run, _around: _capped({(str(n),): value(rank) for n, rank in sorted(run.training.ranks.items())})


def _by_rank_and(labelled: Callable[[RunState, RankState], Iterable[tuple[str, float | None]]]) -> Read:
    """As `_by_rank`, with one label more in front of the rank."""

    def read(run: RunState, _around: Around) -> Series:
        found: dict[tuple[str, ...], float | None] = {}
        for n, rank in sorted(run.training.ranks.items()):
            for label, value in labelled(run, rank):
                found[label, str(n)] = value
        return _capped(found)

    return read


def _capped(found: dict[tuple[str, ...], float | None]) -> Series:
    if len({labels[-1] for labels in found}) <= RANKS_SHOWN:
        return list(found.items())
    together: dict[tuple[str, ...], list[float]] = {}
    for labels, value in found.items():
        if value is not None:
            together.setdefault(labels[:-1], []).append(value)
    return [
        ((*front, name), pick(values))
        for front, values in together.items()
        for name, pick in (("min", min), ("max", max))
    ]


def _last(signal: str) -> Read:
    return _by_rank(lambda rank: rank.last.values.get(signal) if rank.last else None)


def _count(field: str) -> Read:
    return _of_run(lambda run, _around: getattr(totals_of_run(run), field))


def _counts(fields: dict[str, str]) -> Read:
    """Label value -> field of Counts."""

    def read(run: RunState, _around: Around) -> Series:
        counts: Counts = totals_of_run(run)
        return [((label,), getattr(counts, field)) for label, field in fields.items()]

    return read


def _ledger(of: Callable[[TrainingState], dict[str, int]], expected: Iterable[str]) -> Read:
    """As `_keyed`, of a dict that each training has: their sum."""
    return _keyed(lambda run: sum_by_key(of(training) for training in run.trainings.values()), expected)


def _keyed(of: Callable[[RunState], dict[str, int]], expected: Iterable[str]) -> Read:
    """A dict whose keys are label values joined by "/"; those expected show as 0 before they happen."""
    zeros = dict.fromkeys(expected, 0)
    return lambda run, _around: [(tuple(key.split("/", 1)), value) for key, value in sorted((zeros | of(run)).items())]


def sum_by_key(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The dicts added up, key by key."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _by_gpu(value: Callable[[Gpu], float | None]) -> Read:
    """One series a device that the run may use, by its index."""
    return lambda run, around: [((str(gpu.device.index),), value(gpu)) for gpu in _gpus(run, around)]


def _by_gpu_and(labelled: Callable[[Gpu], Iterable[tuple[str, float | None]]]) -> Read:
    """As `_by_gpu`, with one label more behind the device."""
    return lambda run, around: [
        ((str(gpu.device.index), label), value) for gpu in _gpus(run, around) for label, value in labelled(gpu)
    ]


def _gpus(run: RunState, around: Around) -> tuple[Gpu, ...]:
    found = around.hardware.get(run.spec.run)
    return found.gpus if found else ()


# --- what is read ---------------------------------------------------------------------------------------------------


def _info(run: RunState, _around: Around) -> Series:
    training = run.training.started
    versions = training.versions if training else {}
    framework = training.framework if training else ""
    return [
        (
            (
                run.spec.title,
                framework,
                versions.get(framework, ""),
                versions.get("torch", ""),
                training.device if training else "",
            ),
            1,
        )
    ]


def _epoch(run: RunState, _around: Around) -> float | None:
    return run.training.position.epoch if run.training.position else None


def _batches_per_epoch(run: RunState, _around: Around) -> float | None:
    return run.training.started.batches_per_epoch if run.training.started else None


def _eta(run: RunState, around: Around) -> float | None:
    pace_s = projection.pace_s(run.training)
    if not run.alive or pace_s is None or run.training.position is None or run.training.started is None:
        return None
    left = projection.remaining(
        run.training.position, run.training.started.epochs, run.training.started.batches_per_epoch
    )
    return projection.finish_s(around.now_s, left.batches, pace_s)


def _parts(run: RunState, rank: RankState) -> Iterator[tuple[str, float | None]]:
    if rank.last:
        yield "total", rank.last.values.get("loss")
        yield from zip(run.training.started.part_names if run.training.started else (), rank.last.parts, strict=False)


def _rates(run: RunState, rank: RankState) -> Iterator[tuple[str, float | None]]:
    if rank.last:
        names = run.training.started.group_names if run.training.started else ()
        for i, rate in enumerate(rank.last.rates):
            yield names[i] if i < len(names) else f"group{i}", rate


def _memory(_run: RunState, rank: RankState) -> Iterator[tuple[str, float | None]]:
    for kind in ("allocated", "reserved", "peak"):
        yield kind, rank.last.values.get(f"memory_{kind}") if rank.last else None


def _assessed(run: RunState) -> list[tuple[CheckpointState, Verdict]]:
    rules = Policy.model_validate_json(run.policy).rollback
    return [
        (c, trust.judge(c, each, rules)[0])
        for each in run.trainings.values()
        for c in each.checkpoints
        if not each.dropped(c)
    ]


def _checkpoints(run: RunState, _around: Around) -> Series:
    verdicts = [verdict for _, verdict in _assessed(run)]
    return [((str(verdict),), verdicts.count(verdict)) for verdict in Verdict]


def _checkpoint_age(run: RunState, around: Around) -> float | None:
    saved = [checkpoint.saved_s for checkpoint, verdict in _assessed(run) if verdict is Verdict.CLEAN]
    return max(around.now_s - max(saved), 0.0) if saved and not run.ended else None


def _incidents(run: RunState) -> list[Incident]:
    return [incident for training in run.trainings.values() for incident in training.ledger.incidents]


def _incident_open(run: RunState, _around: Around) -> Series:
    return [
        ((str(severity),), sum(i.live and i.severity is severity for i in _incidents(run))) for severity in Severity
    ]


def _discarded(run: RunState, _around: Around) -> float:
    return sum(training.totals.batches_discarded for training in run.trainings.values())


def _findings(run: RunState, around: Around) -> Series:
    """Every detector that this run asks shows as 0 before it says anything: a rate must see the first one."""
    detectors = Policy.model_validate_json(run.policy).detectors.by_name()
    asked = [name for name, settings in detectors.items() if settings.enabled]
    zeros = [f"{name}/{severity}" for name in asked for severity in Severity]
    return _ledger(lambda training: training.totals.findings, zeros)(run, around)


def _alerts_sent(run: RunState, around: Around) -> Series:
    names = [name for owner, name in sorted(around.receivers) if owner == run.spec.run]
    zeros = [f"{name}/{outcome}" for name in names for outcome in ALERT_OUTCOMES]
    return _keyed(lambda r: r.alerts, zeros)(run, around)


def _host_memory(run: RunState, around: Around) -> Series:
    found = around.hardware.get(run.spec.run)
    if not found or not found.host:
        return []
    return [((kind,), getattr(found.host, kind)) for kind in ("training_rss", "available", "total")]


def _nvml_up(run: RunState, around: Around) -> float | None:
    found = around.hardware.get(run.spec.run)
    return found.nvml_up if found else None


def _utilization(gpu: Gpu) -> float | None:
    percent = gpu.device.utilization_percent
    return None if percent is None else percent / 100


def _power(gpu: Gpu) -> float | None:
    milliwatts = gpu.device.power_milliwatts
    return None if milliwatts is None else milliwatts / 1000


def _throttled(gpu: Gpu) -> Iterator[tuple[str, float | None]]:
    bits = gpu.device.throttle_bits
    for reason, bit in THROTTLE_REASONS.items():
        yield reason, None if bits is None else bool(bits & bit)


def _ecc(gpu: Gpu) -> Iterator[tuple[str, float | None]]:
    yield "corrected", gpu.device.ecc_corrected
    yield "uncorrected", gpu.device.ecc_uncorrected


def _remapped(gpu: Gpu) -> Iterator[tuple[str, float | None]]:
    yield "correctable", gpu.device.rows_correctable
    yield "uncorrectable", gpu.device.rows_uncorrectable


GAUGES = (
    Measure("up", "1 while the training's process is believed to live.", _of_run(lambda run, _: run.alive)),
    Measure("run_info", "What the run is; always 1.", _info, INFO_LABELS),
    Measure("generation", "Process life of the run, from 1.", _of_run(lambda run, _: run.generation)),
    Measure("epoch", "Epoch as the framework prints it, from 1.", _of_run(_epoch)),
    Measure("step", "Optimizer steps attempted since the run began, skipped ones included.", _count("steps")),
    Measure("batches_per_epoch", "Batches of one epoch.", _of_run(_batches_per_epoch)),
    Measure(
        "last_batch_timestamp_seconds", "When the last batch arrived, Unix time.",
        _by_rank(lambda rank: rank.last_batch_s), ("rank",),
    ),
    Measure("eta_timestamp_seconds", "When the training ends at its own pace, Unix time.", _of_run(_eta)),
    Measure(
        "deadline_timestamp_seconds", "When it has to be done, Unix time.", _of_run(lambda run, _: run.spec.deadline_s)
    ),
    Measure("loss", "Loss of the last batch, total and by part; may be NaN.", _by_rank_and(_parts), ("part", "rank")),
    Measure("grad_norm", "L2 norm of the gradient before clipping; may be NaN.", _last("grad_norm"), ("rank",)),
    Measure("learning_rate", "What each parameter group really uses.", _by_rank_and(_rates), ("group", "rank")),
    Measure("loss_scale", "Scale of mixed precision.", _last("loss_scale"), ("rank",)),
    Measure("weight_decay", "Of the group that decays most.", _last("weight_decay"), ("rank",)),
    Measure("momentum", "Momentum, or beta1.", _last("momentum"), ("rank",)),
    Measure("clip_norm", "Norm that gradients are clipped to.", _last("clip_norm"), ("rank",)),
    Measure("gpu_memory_bytes", "Memory of the caching allocator.", _by_rank_and(_memory), ("kind", "rank")),
    Measure("checkpoints", "Copies kept, by what may be believed of them.", _checkpoints, ("verdict",)),
    Measure("checkpoint_age_seconds", "Since the newest clean checkpoint was saved.", _of_run(_checkpoint_age)),
    Measure(
        "unwatched_parts", "Parts of the watch that are missing since a hook was switched off; 0 is well.",
        _of_run(lambda run, _: sum(len(training.unwatched) for training in run.trainings.values())),
    ),
    Measure("incident_open", "Incidents that something may still come of.", _incident_open, ("severity",)),
    Measure(
        "alerts_pending", "Alerts that a receiver has not taken yet.",
        _of_run(lambda run, around: around.alerts_pending.get(run.spec.run, 0)),
    ),
    Measure(
        "host_memory_bytes",
        "Of this host, and the resident memory of the run's processes; a page they share counts for each.",
        _host_memory, ("kind",),
    ),
    Measure("nvml_up", "1 while NVML answers; only for a run that uses an NVIDIA GPU.", _of_run(_nvml_up)),
    Measure("gpu_utilization_ratio", "Share of time in which a kernel ran.", _by_gpu(_utilization), ("gpu",)),
    Measure(
        "gpu_memory_used_bytes", "Of the whole device, whoever uses it.",
        _by_gpu(lambda gpu: gpu.device.memory_used_bytes), ("gpu",),
    ),
    Measure(
        "gpu_temperature_celsius", "Of the chip.", _by_gpu(lambda gpu: gpu.device.temperature_celsius), ("gpu",)
    ),
    Measure("gpu_power_watts", "Of the whole board.", _by_gpu(_power), ("gpu",)),
    Measure(
        "gpu_throttled", "1 while the clocks are held down for this reason.", _by_gpu_and(_throttled), ("gpu", "reason")
    ),
    Measure(
        "gpu_remapped_rows", "Rows of memory replaced by spares, over the device's life.",
        _by_gpu_and(_remapped), ("gpu", "kind"),
    ),
)  # fmt: skip

COUNTERS = (
    Measure("batches", "Batches trained, repeated ones included.", _count("batches")),
    Measure(
        "nonfinite_batches",
        "Batches with a NaN or an infinity, by where it was seen; one batch often shows in several, and once in any.",
        _counts({
            "any": "nonfinite_batches", "loss": "nonfinite_loss", "gradient": "nonfinite_gradient",
            "parameter": "nonfinite_parameter", "buffer": "nonfinite_buffer",
        }),
        ("kind",),
    ),
    Measure(
        "skipped_steps", "Optimizer steps dropped, by whom.",
        _counts({"guard": "skipped_by_guard", "scaler": "skipped_by_scaler", "script": "skipped_by_script"}), ("by",),
    ),
    Measure("scaler_overflows", "Isolated overflows of mixed precision; they are normal.", _count("scaler_overflows")),
    Measure(
        "orders", "Orders to the trainer that were answered.",
        _ledger(
            lambda training: training.ledger.counters.orders,
            [f"{kind}/{outcome}" for kind in ORDER_KINDS for outcome in ORDER_OUTCOMES],
        ),
        ("kind", "outcome"),
    ),
    Measure(
        "rollbacks", "Rollbacks, by how they ended.",
        _ledger(lambda training: training.ledger.counters.rollbacks, ("applied", "failed")), ("outcome",),
    ),
    Measure("batches_lost", "Batches thrown away by rollbacks.", _of_run(_discarded)),
    Measure(
        "incidents", "Incidents opened.",
        _ledger(
            lambda training: training.ledger.counters.incidents,
            [f"{family}/{severity}" for family in incident_families() for severity in Severity],
        ),
        ("family", "severity"),
    ),
    Measure(
        "findings",
        "Findings of detectors, once for each streak of one detector about one rank, incidents' ones included.",
        _findings, ("detector", "severity"),
    ),
    Measure(
        "frames_dropped", "Frames that were refused, and records that the hook's full ring dropped.",
        _of_run(lambda run, _: run.frames_refused + totals_of_run(run).records_dropped),
    ),
    Measure(
        "batches_unseen", "Batches that were counted by their process, and of which no record arrived.",
        _of_run(lambda run, _: batches_unseen(run)),
    ),
    Measure(
        "messages_refused", "Messages of the daemon that a hook could not take: unreadable, or for another process.",
        _count("messages_refused"),
    ),
    Measure(
        "checkpoint_copies_lost",
        "Checkpoints of which no copy is kept: a newer one came before it was copied, or nobody adopted the copy.",
        _count("copies_lost"),
    ),
    Measure("hook_errors", "Hooks that failed, and training went on.", _count("hook_errors")),
    Measure("alerts_sent", "Alerts settled, by receiver.", _alerts_sent, ("receiver", "outcome")),
    Measure(
        "gpu_ecc_errors", "Memory errors over the device's life, as its board counts them.",
        _by_gpu_and(_ecc), ("gpu", "kind"),
    ),
    Measure(
        "gpu_xid_errors", "XID errors that the driver raised while this daemon looked.",
        _by_gpu_and(lambda gpu: [(str(xid), times) for xid, times in sorted(gpu.xids.items())]), ("gpu", "xid"),
    ),
    Measure(
        "gpu_readings_refused", "Values of NVML beyond what can be, which are not shown.",
        _by_gpu(lambda gpu: gpu.refused), ("gpu",),
    ),
)  # fmt: skip
