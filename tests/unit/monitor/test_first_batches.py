"""A first batch that compiles kernels is waited for; how long it takes on this machine is learnt, over every run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.core.detectors.hang import HangConfig
from monitor.core.drive import RunDriver
from monitor.core.engine import Core, restored, snapshot
from monitor.core.model import Family, Finding, RunEnded, Severity, Tick
from monitor.core.policy.settings import Policy
from monitor.core.state.first_batches import STARTS_KNOWN_MAX
from tests.harness.trainer import batch, training_started
from trainer_hooks.wire.messages import Counts
from trainer_hooks.wire.run_documents import RunSpec
from trainer_hooks.wire.runfolder import RunFolder

UNKNOWN_S = int(HangConfig().unknown_s)
STARTED = msgspec.structs.replace(
    training_started(RunFolder(Path("/nowhere/night"))), wall_s=0.0, device="AMD Radeon RX 5600 XT",
    versions={"torch": "1.13.1+rocm5.2", "hip": "5.2"},
)  # fmt: skip


class Machine:
    """A machine and its daemon: one run of the same command after the other."""

    def __init__(self) -> None:
        self.core, self.now_s, self.runs = Core(), 1_000_000.0, 0

    def start(self, seconds: int, argv: tuple[str, ...] = ("python", "train.py"), **changed: object) -> list[Finding]:
        """The first batch of a new run comes after so long. Returns the hangs that were found before it."""
        self.runs += 1
        run = RunDriver(f"run-{self.runs}", now_s=self.now_s, core=self.core)
        run.open(RunSpec(run=run.run, argv=argv, cwd=".", created_s=0.0, act=True), Policy().model_dump_json())
        run.start_generation(pid=self.runs)
        run.send(msgspec.structs.replace(STARTED, wall_s=run.now_s, **changed))
        for waited_s in range(0, seconds, 10):
            run.now_s += min(10.0, seconds - waited_s)
            run.feed(Tick())
        found = list(run.state.training.findings)
        run.send(msgspec.structs.replace(batch(Counts(batches=1, steps=1)), wall_s=run.now_s))
        run.feed(RunEnded(run.run, "finished", ""))
        self.now_s = run.now_s
        return [each for each in found if each.family == Family.HANG]

    def restart_daemon(self) -> None:
        self.core = restored(snapshot(self.core))


def test_kernels_compile_at_the_first_start_on_a_machine_and_not_at_the_third() -> None:
    machine = Machine()
    assert machine.start(600) == []
    assert machine.start(20) == []
    machine.restart_daemon()
    (finding,) = machine.start(600)
    assert finding.severity is Severity.WARNING, "it is told, and a start is acted on after hang.first_s as before"
    assert finding.value == 300.0
    assert finding.summary.endswith("(the rule: 5 min 0 s; earlier starts here took 20 s at most)")


def test_a_start_that_compiles_each_time_is_waited_for_each_time() -> None:
    """Its cache is not kept, as in a container."""
    machine = Machine()
    assert [machine.start(seconds) for seconds in (600, 580, 610, 1200)] == [[], [], [], []]


def test_after_one_start_nothing_is_usual_yet() -> None:
    machine = Machine()
    machine.start(5)
    assert machine.start(UNKNOWN_S - 10) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "AMD Radeon RX 6700"}, {"versions": {"torch": "2.2.2+rocm5.7", "hip": "5.7"}},
        {"arguments_digest": "of a larger model"}, {"argv": ("python", "other.py")}, {"world_size": 2},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_another_device_torch_model_or_script_compiles_anew(changed: dict[str, object]) -> None:
    machine = Machine()
    for _ in range(3):
        machine.start(5)
    assert machine.start(600, **changed) == []  # type: ignore[arg-type]


def test_a_first_batch_whose_record_arrives_late_counts_as_long_as_it_was() -> None:
    """The daemon was away meanwhile: both records come at once, and only their own clocks know."""
    machine = Machine()
    machine.start(5)
    for _ in range(2):
        machine.runs += 1
        run = RunDriver(f"run-{machine.runs}", now_s=machine.now_s, core=machine.core)
        spec = RunSpec(run=run.run, argv=("python", "train.py"), cwd=".", created_s=0.0, act=True)
        run.open(spec, Policy().model_dump_json())
        run.start_generation()
        run.send(msgspec.structs.replace(STARTED, wall_s=run.now_s - 500.0))
        run.send(msgspec.structs.replace(batch(Counts(batches=1, steps=1)), wall_s=run.now_s))
    assert machine.start(1400) == []


def test_what_is_learnt_of_starts_is_bounded_and_the_oldest_is_forgotten() -> None:
    machine = Machine()
    for number in range(STARTS_KNOWN_MAX + 2):
        machine.start(0, argv=("python", f"train-{number}.py"))
        machine.start(0, argv=("python", "train.py"))
    assert len(machine.core.fleet.starts) == STARTS_KNOWN_MAX
    assert machine.start(400, argv=("python", "train.py")) != [], "what starts again and again is kept"
    assert machine.start(400, argv=("python", "train-0.py")) == []
