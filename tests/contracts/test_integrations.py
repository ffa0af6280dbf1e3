"""What every integration promises: importing it costs nothing, it tells a training in full, and it can't stop one."""

from __future__ import annotations

import itertools
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch  # noqa: F401 - the samples train with it: without it the file is skipped by name

from tests.contracts.samples import sample
from tests.harness.recorder import RecordingProbe
from trainer_hooks import integrations
from trainer_hooks.wire.messages import Event, PhaseChanged, TrainingEnded, TrainingStarted

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(module.name for module in pkgutil.iter_modules(integrations.__path__) if module.ispkg)
TRAIN = (
    "`train(connect, folder)`: it trains a few batches to the end with the probe that `connect` gives, and "
    "returns how many it trained and how many hooks of ours are left on the optimizer; MARKS: pytest marks it needs"
)
HEAVY = "('torch', 'numpy', 'ultralytics', 'lightning', 'transformers', 'accelerate', 'pandas')"
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is not installed here")
sys.meta_path.insert(0, Blocked())
import trainer_hooks.integrations.{name}
print(sorted({{module.partition(".")[0] for module in sys.modules}}))
"""


def marked(name: str) -> Any:
    """The integration as a parameter, with the marks of its sample."""
    path = Path(__file__).parent / "samples" / f"integration_{name}.py"
    return pytest.param(name, marks=getattr(sample("integration", name, TRAIN), "MARKS", ()) if path.exists() else ())


EACH = pytest.mark.parametrize("name", [marked(name) for name in NAMES])


def train(name: str, connect: Callable[[Any], Any], folder: Path) -> tuple[int, int]:
    """Its sample's training."""
    trained: tuple[int, int] = sample("integration", name, TRAIN).train(connect, folder)
    return trained


@pytest.mark.parametrize("name", NAMES)
def test_importing_it_needs_neither_its_framework_nor_torch(name: str) -> None:
    """A process that is not trained in pays for nothing, and one without the framework does not fail."""
    code = BLOCKED.format(blocked=HEAVY, name=name)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch" not in done.stdout


@EACH
def test_a_training_is_told_from_its_start_to_its_end(name: str, tmp_path: Path) -> None:
    probe = RecordingProbe(tmp_path)
    trained, _ = train(name, lambda _: probe, tmp_path)
    assert trained == len(probe.batches) > 0
    [started], [ended] = probe.starts, probe.of(TrainingEnded)
    assert ended.how == "finished"
    first = probe.events[0]
    assert isinstance(first, TrainingStarted), "it waits for no batch: one that never comes must be noticed"
    assert first in (started, msgspec.structs.replace(started, part_names=()))
    assert probe.events.index(ended) == len(probe.events) - 1
    assert probe.of(PhaseChanged)[-1].phase == "idle"
    assert started.epochs * started.batches_per_epoch == trained
    assert started.framework
    assert len(started.group_names) == len(started.group_rates)
    assert probe.checkpoints


@EACH
def test_its_counters_are_totals_that_never_fall_and_every_batch_is_one(name: str, tmp_path: Path) -> None:
    probe = RecordingProbe(tmp_path)
    train(name, lambda _: probe, tmp_path)
    assert [record.counts.batches for record in probe.batches] == list(range(1, len(probe.batches) + 1))
    for before, after in itertools.pairwise(probe.batches):
        earlier, later = msgspec.structs.astuple(before.counts), msgspec.structs.astuple(after.counts)
        assert all(a <= b for a, b in zip(earlier, later, strict=True))
        assert (after.epoch, after.batch) > (before.epoch, before.batch)
        assert after.sent_s >= before.sent_s
    [started] = probe.starts
    assert all(len(record.parts) == len(started.part_names) for record in probe.batches)
    assert all(len(record.learning_rates) == len(started.group_names) for record in probe.batches)
    assert probe.batches[-1].counts.steps > 0


class BrokenProbe(RecordingProbe):
    """A probe of which one method always raises, after the training has begun."""

    broken = ""

    def _break(self, method: str) -> None:
        if method == self.broken:
            raise RuntimeError(f"{method} of the probe is broken")

    def batch(self, record: Any, urgent: bool = False) -> None:
        self._break("batch")
        super().batch(record, urgent)

    def event(self, body: Event) -> None:
        if not isinstance(body, TrainingStarted):
            self._break("event")
        super().event(body)

    def order(self) -> Any:
        self._break("order")
        return super().order()

    def checkpoint(self, source: Path, save: Any) -> None:
        self._break("checkpoint")
        super().checkpoint(source, save)


@EACH
@pytest.mark.parametrize("broken", ["batch", "event", "order", "checkpoint"])
def test_a_training_is_trained_to_its_end_whatever_breaks_in_the_probe(name: str, broken: str, tmp_path: Path) -> None:
    probe, healthy = BrokenProbe(tmp_path), RecordingProbe(tmp_path)
    probe.broken = broken
    trained, _ = train(name, lambda _: probe, tmp_path)
    assert trained == train(name, lambda _: healthy, tmp_path)[0]


@EACH
def test_a_training_is_trained_where_no_probe_can_be_had(name: str, tmp_path: Path) -> None:
    def refuse(training: Any) -> Any:
        raise OSError(28, f"no space left for {training}")

    assert train(name, refuse, tmp_path)[0] > 0


@EACH
def test_the_end_of_a_training_takes_every_hook_off(name: str, tmp_path: Path) -> None:
    """A second training of the process may use the same optimizer, and is another one."""
    probe = RecordingProbe(tmp_path)
    _, left = train(name, lambda _: probe, tmp_path)
    assert left == 0
