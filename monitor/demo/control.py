"""What the same fault does to the same training without trainwarden. Reads what Ultralytics left behind."""

from __future__ import annotations

from monitor.demo.checks import Check
from monitor.demo.collected import read_passes, read_results
from monitor.demo.scene import EPOCHS, Scene


def ruin_of(scene: Scene, exit_code: int) -> list[Check]:
    """The damage, as claims that hold where the training was ruined: by an abort, or by a model that finds nothing."""
    passes, results = read_passes(scene), read_results(scene)
    last = results[-1] if results else None
    ruined = exit_code != 0 or (last is not None and not last.map50 > 0)
    shown = f"mAP50 {last.map50:.3f} in epoch {last.epoch} of {EPOCHS}" if last else "no epoch was finished"
    return [
        Check("the fault was injected", passes.overflow > 0, f"{passes.overflow} batches overflowed"),
        Check("Ultralytics alone did not survive it", ruined, f"exit code {exit_code}, it got to {shown}"),
    ]
