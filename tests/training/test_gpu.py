"""On a card: the real mixed precision, its memory figures, and a NaN forward under the real scaler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from tests.harness.yolo import Faults, Lab, train
from tests.training.test_faults import assert_unharmed, places_told

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("amp", [True, False])
def test_a_nan_forward_on_the_card_costs_one_step_and_poisons_nothing(
    lab: Lab, probe: RecordingProbe, tmp_path: Path, amp: bool
) -> None:
    arguments = lab.arguments(tmp_path, device="0", amp=amp, epochs=4)
    ended = train(arguments, lab.model, probe, Faults(pixels={(3, 4)}))
    assert_unharmed(ended, epochs=4)
    assert places_told(ended) == [(3, 4)]
    assert probe.urgent[0].skipped_by == ("scaler" if amp else "guard")
    assert probe.starts[0].scaler_enabled is amp


def test_memory_is_told_of_every_batch_on_the_card(lab: Lab, probe: RecordingProbe, tmp_path: Path) -> None:
    train(lab.arguments(tmp_path, device="0", epochs=1), lab.model, probe, Faults())
    for record in probe.batches:
        allocated, reserved, peak = record.memory_allocated, record.memory_reserved, record.memory_peak
        assert allocated is not None
        assert reserved is not None
        assert peak is not None
        assert 0 < allocated <= peak <= reserved
        assert record.alloc_retries == 0
