"""Values that are not finite."""

from __future__ import annotations

import math
import random

from tests.contracts.detector_faults import fault_of
from tests.harness.streams import Stream, calm
from trainer_hooks.wire.messages import NonfiniteSeen


@fault_of("nonfinite_component")
def one_part(stream: Stream, draw: random.Random) -> None:
    stream.batch(math.nan, 3.0 * math.exp(draw.gauss(0, 0.1)), parts=(1.0, math.nan))


@fault_of("nonfinite_burst")
@fault_of("nonfinite_rate")
def many_bad(stream: Stream, draw: random.Random) -> None:
    for _ in range(8):
        stream.batch(math.nan, math.nan)
        calm(stream, 5, draw)


@fault_of("nonfinite_layer")
def bad_layer(stream: Stream, draw: random.Random) -> None:
    stream.event(NonfiniteSeen(0.0, 1, 1, 8, math.nan, (), None, True, (), False, "model.0.bn.running_var"))
