"""Settings, and what is known at the end of an epoch."""

from __future__ import annotations

import math
import random

from monitor.core.state.run import EpochRow
from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream
from trainer_hooks.wire.messages import EpochEnded, SettingChanged


@fault_of("settings_unexplained")
def setting(stream: Stream, draw: random.Random) -> None:
    stream.event(SettingChanged(0.0, 1, 1, "weight_decay/all", "0.1", str(draw.random()), ""))


@fault_of("validation")
def bad_metric(stream: Stream, draw: random.Random) -> None:
    stream.event(EpochEnded(0.0, 9, 1.0, (), {"mAP50": math.nan, "loss": draw.random()}, math.nan))


@fault_of("overfitting")
def overfits(stream: Stream, draw: random.Random) -> None:
    fitness = [0.2, 0.3, 0.4, 0.5, 0.51, 0.45, 0.42, 0.4, 0.38, 0.35, 0.33, 0.3]
    for at, value in enumerate(fitness):
        row = EpochRow(stream.generation, 100 + at, 1000, 0.0, status="ended", loss_sum=2.0 - at / 20, loss_count=1)
        stream.run.epochs.append(row)
        stream.event(EpochEnded(0.0, 100 + at, 1.0, (), {}, value))
