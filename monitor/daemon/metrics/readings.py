"""What the rows of the table read from a run, where that takes more than a line. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from monitor.core.detectors import load_all
from monitor.core.model import Incident, Severity, Verdict
from monitor.core.policy import trust
from monitor.core.policy.settings import Policy
from monitor.core.state import projection
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RankState, RunState
from monitor.daemon.hardware.reading import THROTTLE_REASONS, Gpu, Vendor
from monitor.daemon.metrics.measure import Around, Series, by_key, of_last_batch, of_trainings

INCIDENTS_SHOWN = 5  # of a run, beside those that are live
INCIDENTS_SHOWN_MAX = 20
ALERT_OUTCOMES = ("delivered", "refused", "expired", "suppressed")


@lru_cache(256)
def _policy(text: str) -> Policy:
    """A scrape reads the policy of each run three times, and it never changes."""
    return Policy.model_validate_json(text)


def info(run: RunState, _around: Around) -> Series:
    """What the run is, in labels."""
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


def epoch(run: RunState, _around: Around) -> float | None:
    """Of the last batch."""
    return run.training.position.epoch if run.training.position else None


def batches_per_epoch(run: RunState, _around: Around) -> float | None:
    """As the training announced it."""
    return run.training.started.batches_per_epoch if run.training.started else None


def eta(run: RunState, around: Around) -> float | None:
    """When the training ends at its own pace, Unix seconds; None: it is not known yet."""
    left, pace_s = projection.batches_left(run.training), projection.pace_s(run.training)
    if not run.alive or pace_s is None or left is None:
        return None
    return projection.finish_s(around.now_s, left, pace_s)


def parts(run: RunState, rank: RankState) -> Iterator[tuple[str, float | None]]:
    """The loss in all, and its parts by the names that the framework gives them."""
    if rank.last:
        yield "total", of_last_batch(rank, "loss")
        yield from zip(run.training.started.part_names if run.training.started else (), rank.last.parts, strict=False)


def rates(run: RunState, rank: RankState) -> Iterator[tuple[str, float | None]]:
    """The learning rate of each parameter group."""
    if rank.last:
        names = run.training.started.group_names if run.training.started else ()
        for i, rate in enumerate(rank.last.rates):
            yield names[i] if i < len(names) else f"group{i}", rate


def memory(_run: RunState, rank: RankState) -> Iterator[tuple[str, float | None]]:
    """Of the caching allocator, bytes."""
    for kind in ("allocated", "reserved", "peak"):
        yield kind, of_last_batch(rank, f"memory_{kind}")


def assessed(run: RunState) -> list[tuple[CheckpointState, Verdict]]:
    """Every checkpoint whose copy is kept, and what may be believed of it."""
    rules = _policy(run.policy).rollback
    return [
        (c, trust.judge(c, each, rules)[0])
        for each in run.trainings.values()
        for c in each.checkpoints
        if not each.dropped(c)
    ]


def checkpoints(run: RunState, _around: Around) -> Series:
    """How many copies there are of each verdict."""
    verdicts = [verdict for _, verdict in assessed(run)]
    return [((str(verdict),), verdicts.count(verdict)) for verdict in Verdict]


def last_checkpoint(run: RunState, _around: Around) -> float | None:
    """When the framework saved its newest clean checkpoint, Unix seconds; None: there is none."""
    return _newest_clean(run, snapshots=False)


def last_snapshot(run: RunState, _around: Around) -> float | None:
    """When the newest clean snapshot was taken, Unix seconds; None: there is none."""
    return _newest_clean(run, snapshots=True)


def _newest_clean(run: RunState, *, snapshots: bool) -> float | None:
    saved = (c.saved_s for c, verdict in assessed(run) if verdict is Verdict.CLEAN and c.is_snapshot is snapshots)
    return max(saved, default=None)


def incidents(run: RunState) -> list[Incident]:
    """Of all trainings of the run."""
    return [incident for training in run.trainings.values() for incident in training.ledger.incidents]


def incident_open(run: RunState, _around: Around) -> Series:
    """Incidents that something may still come of, by severity."""
    return [((str(severity),), sum(i.live and i.severity is severity for i in incidents(run))) for severity in Severity]


def opened(run: RunState, _around: Around) -> Series:
    """When each incident opened: those that are live, and the newest ones."""
    every = incidents(run)
    shown = [one for one in every[:-INCIDENTS_SHOWN] if one.live] + every[-INCIDENTS_SHOWN:]
    report = f"/api/v1/runs/{run.spec.run}/report?incident="
    return [
        ((one.id, one.family, str(one.severity), str(one.state), f"{report}{one.number}"), one.opened_s)
        for one in shown[-INCIDENTS_SHOWN_MAX:]
    ]


def discarded(run: RunState, _around: Around) -> float:
    """Batches that rollbacks threw away."""
    return sum(training.totals.batches_discarded for training in run.trainings.values())


def findings(run: RunState, around: Around) -> Series:
    """Every detector that this run asks shows as 0 before it says anything: a rate must see the first one.

    But not at a severity that it never gives, nor as info where it can warn: fifty runs have to stay within SERIES_MAX.
    """
    detectors, levels = _policy(run.policy).detectors.by_name(), list(Severity)
    most = {name: levels.index(registered.at_most) for name, registered in load_all().items()}
    asked = [name for name, settings in detectors.items() if settings.enabled]
    zeros = [f"{name}/{severity}" for name in asked for severity in levels[min(most[name], 1) : most[name] + 1]]
    return of_trainings(lambda training: training.totals.findings, zeros)(run, around)


def alerts_sent(run: RunState, around: Around) -> Series:
    """Alerts settled, by receiver and outcome; every receiver shows from the start."""
    names = [name for owner, name in sorted(around.receivers) if owner == run.spec.run]
    zeros = [f"{name}/{outcome}" for name in names for outcome in ALERT_OUTCOMES]
    return by_key(lambda r: r.alerts, zeros)(run, around)


def host_memory(run: RunState, around: Around) -> Series:
    """Of the host, and of the processes of the run, bytes."""
    found = around.hardware.get(run.spec.run)
    if not found or not found.host:
        return []
    return [((kind,), getattr(found.host, kind)) for kind in ("training_rss", "available", "total")]


def driver_up(run: RunState, around: Around) -> float | None:
    """1: the driver of the run's cards answers. None: the run uses none that can be read."""
    found = around.hardware.get(run.spec.run)
    return found.driver_up if found else None


def nvml_up(run: RunState, around: Around) -> float | None:
    """The same for NVIDIA cards alone: None for a run that uses others."""
    found = around.hardware.get(run.spec.run)
    return found.driver_up if found and found.vendor is Vendor.NVIDIA else None


def gpus(run: RunState, around: Around) -> Series:
    """The devices that the run may use."""
    found = around.hardware.get(run.spec.run)
    return [((str(g.device.index), g.device.uuid, g.device.name), 1) for g in (found.gpus if found else ())]


def utilization(gpu: Gpu) -> float | None:
    """From 0 to 1."""
    percent = gpu.device.utilization_percent
    return None if percent is None else percent / 100


def power(gpu: Gpu) -> float | None:
    """Watts."""
    milliwatts = gpu.device.power_milliwatts
    return None if milliwatts is None else milliwatts / 1000


def fan(gpu: Gpu) -> float | None:
    """From 0 to 1."""
    percent = gpu.device.fan_percent
    return None if percent is None else percent / 100


def throttled(gpu: Gpu) -> Iterator[tuple[str, float | None]]:
    """1 for each reason that holds the clocks down."""
    bits = gpu.device.throttle_bits
    for reason, bit in THROTTLE_REASONS.items():
        yield reason, None if bits is None else bool(bits & bit)


def ecc(gpu: Gpu) -> Iterator[tuple[str, float | None]]:
    """Memory errors by kind."""
    yield "corrected", gpu.device.ecc_corrected
    yield "uncorrected", gpu.device.ecc_uncorrected


def remapped(gpu: Gpu) -> Iterator[tuple[str, float | None]]:
    """Replaced rows by kind."""
    yield "correctable", gpu.device.rows_correctable
    yield "uncorrectable", gpu.device.rows_uncorrectable
