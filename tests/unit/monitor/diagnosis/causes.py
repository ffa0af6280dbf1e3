"""Trainings with one known cause planted in each: what a diagnosis must find, or abstain from.

`told` varies what the hook can tell: everything; the norm on one batch in four; no samples, instances or clip.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from monitor.core.diagnosis import diagnose_finding
from monitor.core.model import Diagnosis, GpuSeen, HardwareSeen, Tick
from tests.harness.noise import FORWARD, HEALTHY, MIB
from tests.harness.simulation import Simulation, noisy
from trainer_hooks.wire.messages import EpochEnded, Nonfinite

CALM = 400
TOLD: dict[str, dict[str, Any]] = {
    "everything": {},
    "the norm on one batch in four": {"accumulate": 4},
    "no samples, instances or clip": {"unknown": ("samples", "instances", "instances_max", "clip_norm")},
}
Cause = Callable[[int, dict[str, Any]], Diagnosis]


def opened(training: Simulation) -> Diagnosis:
    """The diagnosis of the incident that the core opened by itself."""
    assert training.run.ledger.defects == 0
    found = training.incident.diagnosis
    assert found is not None
    return found


def noticed(training: Simulation, detector: str) -> Diagnosis:
    """The diagnosis of a finding that opens no incident."""
    found = [f for f in training.run.training.findings if f.detector == detector]
    assert found, training.run.training.totals.findings
    return diagnose_finding(training.run.training, found[-1])


def names(draw: random.Random, count: int = 16) -> tuple[str, ...]:
    return tuple(f"{draw.randrange(100_000):06d}.jpg" for _ in range(count))


def climb(training: Simulation, batches: int, loss: float, norm: float, **more: Any) -> None:
    """Loss and norm rise to these factors along a line in log space, and what follows is not finite."""
    for i in range(1, batches + 1):
        share = i / batches
        training.noisy_batch(loss=loss**share, norm=norm**share, **more)
    for _ in range(8):
        training.noisy_batch(bad=FORWARD, cured=False, samples=names(training.draw), **more)


def amp_overflow(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, scaler=True, **told)
    training.noisy_batches(CALM)
    scale = 65536.0
    for i in range(40):
        hit = i % 4 == 0
        scale = scale / 2 if hit and scale > 1024 else scale
        training.noisy_batch(bad=Nonfinite.GRADIENT if hit else HEALTHY, overflow=hit, loss_scale=scale,
                       lost=math.inf, samples=names(training.draw))  # fmt: skip
    return opened(training)


def learning_rate_jumped(seed: int, told: dict[str, Any]) -> Diagnosis:
    """A restart of the schedule takes the rate to ten times what it was."""
    training = noisy(seed, rate=0.002, **told)
    training.noisy_batches(CALM)
    training.noise.rate = 0.02
    training.noisy_batches(training.draw.randint(2, 8))
    climb(training, training.draw.randint(10, 25), 40.0, 300.0)
    return opened(training)


def learning_rate_too_high(seed: int, told: dict[str, Any]) -> Diagnosis:
    """It was too high all along: loss and norm rise until the numbers overflow."""
    training = noisy(seed, **told)
    training.noisy_batches(200 + training.draw.randint(0, 200))
    climb(training, training.draw.randint(8, 30), 10.0 ** (1.2 + training.draw.random()), 200.0)
    return opened(training)


def warm_up_end(seed: int, told: dict[str, Any]) -> Diagnosis:
    draw = random.Random(seed)
    training = noisy(seed, warm_up=1000, settings={"warmup_epochs": "1.0"}, **told)
    training.noisy_batches(1000 + draw.randint(5, 70))
    climb(training, draw.randint(8, 20), 6.0, 60.0)
    return opened(training)


def bad_input(seed: int, told: dict[str, Any]) -> Diagnosis:
    """One file is broken: whenever it is drawn, once an epoch, the batch is not finite."""
    training = noisy(seed, batches_per_epoch=150, **told)
    training.noisy_batches(300)
    for _ in range(7):
        at = training.draw.randrange(150)
        for batch in range(150):
            if batch == at:
                training.noisy_batch(bad=FORWARD | Nonfinite.BUFFER, samples=(*names(training.draw), "broken.npy"))
            else:
                training.noisy_batch()
    return opened(training)


def bad_labels(seed: int, told: dict[str, Any]) -> Diagnosis:
    """The labels of a shard are empty: no boxes to learn, and the classes are all wrong."""
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    for _ in range(120):
        training.noisy_batch(part_factors=(0.02, 9.0 * math.exp(0.1 * training.draw.gauss(0, 1)), 0.02),
                       instances=training.draw.randint(0, 3), instances_max=training.draw.randint(0, 1))  # fmt: skip
    return opened(training)


def batchnorm(seed: int, told: dict[str, Any]) -> Diagnosis:
    """One bad forward under a scaler: the step is skipped, the statistics stay bad, training looks perfect."""
    training = noisy(seed, scaler=True, batches_per_epoch=600, **told)
    training.noisy_batches(300)
    training.send(EpochEnded(training.now_s, 1, 100.0, (1.0, 0.6, 0.4), {"mAP50": 0.4}, 0.4))
    training.noisy_batches(300)
    training.noisy_batch(bad=FORWARD | Nonfinite.BUFFER, cured=False, loss_scale=32768.0, samples=names(training.draw),
                   first_bad="model.0.bn.running_mean")  # fmt: skip
    training.noisy_batches(300, loss_scale=32768.0)
    training.send(EpochEnded(training.now_s, 2, 100.0, (1.0, 0.6, 0.4), {"mAP50": 0.0, "val/cls": math.nan}, 0.0))
    return opened(training)


def resume_damage(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, batches_per_epoch=300, **told)
    training.noisy_batches(600)
    training.restart(start_epoch=3)
    for _ in range(training.draw.randint(0, 1)):
        training.noisy_batch(loss=4.0, norm=30.0)
    for _ in range(12):
        training.noisy_batch(bad=FORWARD, cured=False, samples=names(training.draw))
    return opened(training)


def hardware(seed: int, told: dict[str, Any]) -> Diagnosis:
    """Memory errors of the device, then numbers that are not finite, with other samples each time."""
    training = noisy(seed, **told)
    training.feed(HardwareSeen("night", gpus=(GpuSeen(0, ecc_uncorrected=0),)))
    training.noisy_batches(CALM)
    training.feed(HardwareSeen("night", gpus=(GpuSeen(0, ecc_uncorrected=2, xids=((48, 1),)),)))
    for i in range(40):
        training.noisy_batch(bad=FORWARD if i % 10 == 5 else HEALTHY, samples=names(training.draw))
    return opened(training)


def settings_changed(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    training.setting("learning_rate/weight", "0.01", "0.2")
    training.noise.rate = 0.2
    training.noisy_batches(training.draw.randint(1, 30))
    climb(training, training.draw.randint(6, 20), 30.0, 300.0)
    return opened(training)


def loss_component(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    for i in range(60):
        training.noisy_batch(bad=FORWARD if i % 12 == 3 else HEALTHY, bad_parts=(1,), samples=names(training.draw))
    return opened(training)


def data_change(seed: int, told: dict[str, Any]) -> Diagnosis:
    """From an epoch's first batch on the texts are of another kind, and nobody declared it."""
    training = noisy(seed, batches_per_epoch=500, **told)
    draw = training.draw
    training.noisy_batches(500, sequence_length=512)
    for _ in range(140):
        training.noisy_batch(loss=4.0, norm=1.5, sequence_length=draw.randint(1500, 2048))
    return opened(training)


def missing_clip(seed: int, told: dict[str, Any]) -> Diagnosis:
    """The shape of the BLOOM trace, in a run without a clip that had such outliers before."""
    training = noisy(seed, clip_norm=None, settings={"optimizer": "sgd", "max_grad_norm": "0.0"}, **told)
    for i in range(CALM):
        training.noisy_batch(norm=25.0 if i in (230, 290, 350, 371) else 1.0)
    for norm, loss in ((4, 1.0), (10, 1.1), (65, 1.0), (600, 1.05)):
        training.noisy_batch(loss=loss, norm=norm)
    for _ in range(70):
        training.noisy_batch(loss=2.3, norm=900.0)
    return opened(training)


def stale_moment(seed: int, told: dict[str, Any]) -> Diagnosis:
    """The norm had become small, so that Adam's second moment had; then a batch of the old size."""
    training = noisy(seed, settings={"optimizer": "AdamW"}, **told)
    training.noisy_batches(1200, norm=10.0)
    for i in range(1400):
        training.noisy_batch(norm=max(10.0 * 0.5 ** (i / 200), 1.0))
    training.noisy_batch(norm=60.0)
    training.noisy_batch(norm=90.0, loss=1.2)
    for _ in range(70):
        training.noisy_batch(norm=50.0, loss=2.5)
    return opened(training)


def memory_batch(seed: int, told: dict[str, Any]) -> Diagnosis:
    """The most crowded image of the run takes memory for good."""
    training = noisy(seed, batches_per_epoch=2000, **told)
    training.noisy_batches(900)
    training.noise.memory_mib = 4820.0
    training.noisy_batch(instances_max=731, instances=900)
    training.noisy_batches(60)
    return noticed(training, "memory_step")


def memory_between_epochs(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, batches_per_epoch=800, **told)
    training.noisy_batches(800)
    training.noise.memory_mib = 5600.0
    training.noisy_batches(60)
    return noticed(training, "memory_step")


def memory_leak(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, batches_per_epoch=10_000, **told)
    training.noisy_batches(300)
    for i in range(3600):
        training.noise.memory_mib = 4300.0 + 20.0 * (i // 120)
        training.noisy_batch(memory_allocated=round((3000.0 + i / 6.0) * MIB))
    return noticed(training, "memory_leak")


def input_bound(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, **told)
    training.noisy_batches(800)
    training.noisy_batches(120, wait_s=0.5)
    return noticed(training, "data_wait")


def slow_compute(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, batches_per_epoch=500, **told)
    training.noisy_batches(1300)
    training.noisy_batches(150, compute_s=0.5)
    return noticed(training, "step_time")


def hang(seed: int, told: dict[str, Any]) -> Diagnosis:
    training = noisy(seed, **told)
    training.noisy_batches(300)
    for _ in range(60):
        training.now_s += 2.0
        training.feed(Tick())
    return noticed(training, "hang")


CAUSES: dict[str, tuple[Cause, frozenset[str]]] = {
    name: (cause, frozenset(right))
    for name, cause, right in (
        ("gradients overflow in mixed precision", amp_overflow, ["amp_overflow"]),
        ("the rate jumped", learning_rate_jumped, ["learning_rate"]),
        ("the rate was too high all along", learning_rate_too_high, ["learning_rate"]),
        ("the end of warm-up", warm_up_end, ["warm_up_end"]),
        ("a broken sample", bad_input, ["bad_input"]),
        ("empty labels", bad_labels, ["bad_labels"]),
        ("poisoned BatchNorm statistics", batchnorm, ["batchnorm_ema"]),
        ("a damaged resume", resume_damage, ["resume_damage"]),
        ("memory errors of the device", hardware, ["hardware"]),
        ("a rate changed by hand", settings_changed, ["settings_changed"]),
        ("one component of the loss", loss_component, ["loss_component"]),
        ("longer texts", data_change, ["data_change"]),
        ("outliers without a clip", missing_clip, ["missing_clip"]),
        ("a stale second moment", stale_moment, ["stale_moment"]),
        ("a crowded image", memory_batch, ["memory_batch"]),
        ("validation takes memory", memory_between_epochs, ["memory_between_epochs"]),
        ("a memory leak", memory_leak, ["memory_leak"]),
        ("a slow loader", input_bound, ["input_bound"]),
        ("a slow device", slow_compute, ["slow_compute"]),
        ("a hang", hang, ["hang"]),
    )
}


def nan_out_of_nothing(seed: int, told: dict[str, Any]) -> Diagnosis:
    """One batch in a hundred is not finite, with other samples each time and nothing else to see: as on the night."""
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    for i in range(400):
        hit = training.draw.random() < 0.01 or i in (3, 40, 70)
        training.noisy_batch(bad=FORWARD | Nonfinite.BUFFER if hit else HEALTHY, samples=names(training.draw))
    return opened(training)


def spike_by_itself(seed: int, told: dict[str, Any]) -> Diagnosis:
    """The loss jumps to three times its level and stays, and nothing explains it."""
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    for _ in range(120):
        training.noisy_batch(loss=3.0, norm=4.0)
    return opened(training)


def one_bad_gradient(seed: int, told: dict[str, Any]) -> Diagnosis:
    """One wild gradient throws the weights off; loss and norm climb from there until the numbers overflow."""
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    training.noisy_batch(norm=400.0)
    climb(training, training.draw.randint(8, 20), 40.0, 400.0)
    return opened(training)


def gradient_of_a_root(seed: int, told: dict[str, Any]) -> Diagnosis:
    """The backward pass of a square root at zero is no number, the loss is finite; the scaler takes it for overflow."""
    training = noisy(seed, scaler=True, **told)
    training.noisy_batches(CALM)
    for i in range(40):
        hit = i % 4 == 0
        training.noisy_batch(bad=Nonfinite.GRADIENT if hit else HEALTHY, overflow=hit, samples=names(training.draw),
                       loss_scale=65536.0 / 2 ** (i // 4))  # fmt: skip
    return opened(training)


def resumed_with_another_rate(seed: int, told: dict[str, Any]) -> Diagnosis:
    """Not finite from the first batch after a resume, which also changed a setting: either may be it."""
    training = noisy(seed, batches_per_epoch=300, settings={"lr0": "0.01"}, **told)
    training.noisy_batches(600)
    training.restart(start_epoch=3, lr0="0.5")
    for _ in range(12):
        training.noisy_batch(bad=FORWARD, cured=False, samples=names(training.draw))
    return opened(training)


def scheduler_of_their_own(seed: int, told: dict[str, Any]) -> Diagnosis:
    """A user's scheduler changes the rate every 20 batches; that some batches are not finite has another cause."""
    training = noisy(seed, **told)
    for i in range(24):
        training.noisy_batches(20)
        training.setting("learning_rate/weight", f"{0.01 * 0.8**i:.3g}", f"{0.01 * 0.8 ** (i + 1):.3g}")
    for i in range(40):
        training.noisy_batch(bad=FORWARD if i % 9 == 4 else HEALTHY, samples=names(training.draw))
    return opened(training)


def all_bad_at_once(seed: int, told: dict[str, Any]) -> Diagnosis:
    """Everything is not finite from one batch on, as after a step with a bad gradient in fp32."""
    training = noisy(seed, **told)
    training.noisy_batches(CALM)
    for _ in range(30):
        training.noisy_batch(
            bad=FORWARD | Nonfinite.PARAMETER | Nonfinite.BUFFER, cured=False, samples=names(training.draw)
        )
    return opened(training)


def bad_from_the_first_batch(seed: int, told: dict[str, Any]) -> Diagnosis:
    """Not finite from the very first batch, in full precision."""
    training = noisy(seed, **told)
    for _ in range(30):
        training.noisy_batch(bad=FORWARD, cured=False, samples=names(training.draw))
    return opened(training)


UNKNOWN: dict[str, Cause] = {
    "NaN out of nothing": nan_out_of_nothing,
    "a spike by itself": spike_by_itself,
    "one wild gradient": one_bad_gradient,
    "the gradient of a root at zero": gradient_of_a_root,
    "a resume with another rate": resumed_with_another_rate,
    "a scheduler of their own": scheduler_of_their_own,
    "everything bad at once": all_bad_at_once,
    "bad from the first batch": bad_from_the_first_batch,
}
