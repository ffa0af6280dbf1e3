"""How often the detectors cry wolf: healthy synthetic trainings through the real core. Prints a table, asserts nothing.

`python -m tests.bench.false_alarms [--batches N] [--length N] [--seed N]`. A spell of one detector counts once. The
levels: act (what `act: true` would open an incident for), warning (told and sent to the webhooks), info (told).
Benign changes (restarts of the learning rate, mosaic closing, a growing batch, pauses, lengths) have their own table.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

from monitor.policy.settings import Detectors, Divergence, GradientExplosion, Hang, LossSpike, Policy
from tests.harness.streams import Stream
from trainer_hooks.wire.messages import PhaseChanged, SettingChanged

GIB = 1 << 30
ACTING = Policy(
    detectors=Detectors(
        loss_spike=LossSpike(act=True),
        gradient_explosion=GradientExplosion(act=True),
        divergence=Divergence(act=True),
        hang=Hang(act=True),
    )
)
Noise = Callable[[random.Random], float]


def gaussian(draw: random.Random) -> float:
    return 1.0 + 0.08 * draw.gauss(0, 1)


def lognormal(draw: random.Random) -> float:
    return math.exp(0.3 * draw.gauss(0, 1))


def student3(draw: random.Random) -> float:
    """Heavy tails: a Student t of three degrees of freedom."""
    chi = math.hypot(draw.gauss(0, 1), draw.gauss(0, 1), draw.gauss(0, 1))
    return 1.0 + 0.08 * math.sqrt(3.0) * draw.gauss(0, 1) / chi


NOISES: dict[str, Noise] = {"gaussian": gaussian, "log-normal": lognormal, "t(3)": student3}


def decay(at: int) -> float:
    """A loss that falls as a power of the batches, from 6 to a floor."""
    return 1.2 + 5.0 / math.sqrt(1.0 + at / 50.0)


def healthy(stream: Stream, noise: Noise, draw: random.Random, length: int) -> None:
    """A plain training: nothing happens but noise, a validation after each epoch and an odd last batch."""
    for at in range(length):
        last = at % stream.batches_per_epoch == stream.batches_per_epoch - 1
        stream.batch(
            decay(at) * noise(draw),
            2.0 * (1.0 + at / 500.0) ** -0.2 * math.exp(0.35 * draw.gauss(0, 1)),
            took_s=0.2 * math.exp(0.08 * draw.gauss(0, 1)) * (6.0 if draw.random() < 0.003 else 1.0),
            wait_s=0.01 * math.exp(draw.gauss(0, 1)),
            batch_size=7 if last else 16,
            scale=65536.0,
            reserved=int(4.2 * GIB),
            allocated=int(3.0 * GIB + 20e6 * draw.random()),
        )
        if last:
            validate(stream)


def validate(stream: Stream) -> None:
    stream.event(PhaseChanged(0.0, 1, "validate"))
    for _ in range(20):
        stream.tick(1.0)
    stream.event(PhaseChanged(0.0, 1, "train"))


def benign(stream: Stream, name: str, draw: random.Random, length: int) -> None:
    """One of the changes that must stay silent, over the same noise."""
    for at in range(length):
        part = at / length
        loss = decay(at) * math.exp(0.1 * draw.gauss(0, 1))
        norm, took, rate, size, scale = 2.0 * math.exp(0.3 * draw.gauss(0, 1)), 0.2, 0.1, 16, 65536.0
        if name == "learning rate restarts":
            since = at % 2000
            rate = 0.05 * (1.0 + math.cos(math.pi * since / 2000)) + 0.001
            loss *= 1.0 + 0.4 * math.exp(-since / 100) * (at > 2000)
        elif name == "learning rate steps":
            rate = 0.1 * 0.1 ** int(part * 3)
            loss *= 0.8 ** int(part * 3)
        elif name == "end of warm-up":
            rate = 0.1 * min(at / 1000, 1.0) + 1e-5
            norm *= 1.0 + min(at / 1000, 1.0)
        elif name == "mosaic closed":
            if at == length // 2:
                stream.event(SettingChanged(0.0, 1, 0, "mosaic", "on", "off", "mosaic closed"))
            loss *= 0.7 if part >= 0.5 else 1.0
            took *= 0.6 if part >= 0.5 else 1.0
        elif name == "growing batch":
            size = 16 << int(part * 3)
            took *= size / 16
            norm /= math.sqrt(size / 16)
        elif name == "lengths":
            longer = math.exp(0.5 * draw.gauss(0, 1))
            took, loss = took * longer, loss * longer**0.2
        elif name == "sorted lengths":
            took *= 0.5 + 1.5 * (at % 1000) / 1000
        elif name == "slow every 10":
            took *= 4.0 if at % 10 == 0 else 1.0
        elif name == "scaler warm-up":
            scale = 65536.0 / 2 ** min(at // 3, 6)
        took *= math.exp(0.05 * draw.gauss(0, 1))
        overflow = name == "scaler warm-up" and (at < 18 or at % 2000 == 0)
        stream.batch(loss, norm, took_s=took, rate=rate, batch_size=size, scale=scale, overflow=overflow)
        if at % 1000 == 999:
            validate(stream)


BENIGN = (
    "learning rate restarts", "learning rate steps", "end of warm-up", "mosaic closed", "growing batch", "lengths",
    "sorted lengths", "slow every 10", "scaler warm-up", "resumed",
)  # fmt: skip


def resumed(draw: random.Random, length: int) -> Stream:
    stream = Stream(policy=ACTING)
    healthy(stream, lognormal, draw, length // 2)
    stream.restart()
    healthy(stream, lognormal, draw, length // 2)
    return stream


def main(arguments: list[str] | None = None) -> None:
    """Run both sets and print alarms per million batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=300_000)
    parser.add_argument("--length", type=int, default=20_000, help="batches of one run")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    began = time.process_time()
    total: Counter[str] = Counter()
    batches = 0
    for name, found, count in _healthy_runs(given.batches, given.length, given.seed):
        print(f"healthy, {name:<24} {count:>9} batches  {_told(found)}", flush=True)
        total.update(found)
        batches += count
    took_s = time.process_time() - began
    print(f"\n{batches} healthy batches, {took_s:.0f} s of CPU; alarms per million by detector and level")
    for key, times in sorted(total.items()):
        print(f"  {key:<32} {times:>5}  {1e6 * times / batches:8.1f}")
    print("  none" if not total else "", "\n")
    for name in BENIGN:
        draw = random.Random(f"{given.seed}/{name}")
        stream = resumed(draw, given.length) if name == "resumed" else Stream(policy=ACTING)
        if name != "resumed":
            benign(stream, name, draw, given.length)
        print(f"benign, {name:<24} {given.length:>9} batches  {_told(stream.found)}", flush=True)


def _healthy_runs(batches: int, length: int, seed: int) -> Iterator[tuple[str, dict[str, int], int]]:
    runs = max(batches // length // len(NOISES), 1)
    for name, noise in NOISES.items():
        found: Counter[str] = Counter()
        for run in range(runs):
            stream = Stream(policy=ACTING)
            healthy(stream, noise, random.Random(f"{seed}/{name}/{run}"), length)
            found.update({_level(key): n for key, n in stream.found.items()})
        yield name, dict(found), runs * length


def _level(key: str) -> str:
    detector, severity = key.split("/")
    return f"{detector}/{'act' if severity == 'critical' else severity}"


def _told(found: dict[str, int]) -> str:
    return ", ".join(f"{key} {n}" for key, n in sorted(found.items())) or "silent"


if __name__ == "__main__":
    main()
