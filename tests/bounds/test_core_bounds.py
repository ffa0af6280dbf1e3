"""The limits of the core's state: a run that goes on for ever, or that somebody lies about, stays small."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.core.drive import RunDriver
from monitor.core.engine import POLICIES_MAX, Core
from monitor.core.format import NAME_CHARS_MAX
from monitor.core.format import name as foreign_name
from monitor.core.model import (
    Entry,
    Finding,
    GenerationExited,
    GpuSeen,
    HardwareSeen,
    Incident,
    IncidentState,
    Position,
    RaiseAlert,
    Severity,
    Tick,
    VolumeSeen,
)
from monitor.core.policy.facts_at_open import SAMPLES_MAX
from monitor.core.policy.incidents import EXAMINING_MAX, INCIDENTS_MAX, examine
from monitor.core.policy.planning import ONSET_SAMPLES_MAX
from monitor.core.policy.settings import DecisionTable, Policy, Watch
from monitor.core.policy.transaction import NAME_MAX, TIMELINE_MAX, Transaction
from monitor.core.state.allocator import RETRIES_MAX, Allocator, take_allocator
from monitor.core.state.epochs import EPOCH_ROWS_MAX
from monitor.core.state.events import LOG_MAX
from monitor.core.state.finding_log import FINDINGS_MAX, STREAKS_MAX, log_findings
from monitor.core.state.fold import RANKS_MAX, TRAININGS_MAX
from monitor.core.state.generations import STARTS_MAX
from monitor.core.state.hardware import GPUS_MAX, VOLUMES_MAX
from monitor.core.state.learned import NonfiniteWindow, Scaler
from monitor.core.state.rows import CheckpointState
from monitor.core.state.stats import (
    EVENTS_MAX,
    FLAGS_MAX,
    NONFINITE_WINDOW_MAX,
    first_within,
    flag,
    take_scale,
    within,
)
from tests.harness.trainer import WALL_S, batch, training_started
from tests.unit.monitor.test_rules_of_acting import Training
from trainer_hooks.wire.messages import Counts, NonfiniteSeen, SettingChanged
from trainer_hooks.wire.run_documents import Exit, RunSpec
from trainer_hooks.wire.runfolder import RunFolder


def driven(title: str = "") -> RunDriver:
    """A run whose first generation has begun."""
    spec = RunSpec(run="r", title=title, argv=("python",), cwd="/", created_s=WALL_S, act=False)
    driver = RunDriver("r", now_s=WALL_S)
    driver.open(spec, Policy(act=False).model_dump_json())
    driver.start_generation()
    return driver


def test_ranks_beyond_the_limit_are_refused_and_counted() -> None:
    driver = driven()
    for rank in range(RANKS_MAX + 3):
        driver.send(batch(Counts(batches=1)), rank)
    assert len(driver.state.training.ranks) == RANKS_MAX
    assert driver.state.frames_refused == 3


def test_trainings_beyond_the_limit_are_refused_and_counted() -> None:
    driver = driven()
    for number in range(1, TRAININGS_MAX + 4):
        driver.send(batch(Counts(batches=1)), training=number)
    assert list(driver.state.trainings) == list(range(1, TRAININGS_MAX + 1))
    assert driver.state.frames_refused == 3
    driver.send(batch(Counts(batches=2)), training=TRAININGS_MAX)
    assert driver.state.frames_refused == 3
    assert driver.state.trainings[TRAININGS_MAX].ranks[0].counts.batches == 2


def test_the_starts_of_a_training_are_kept_up_to_a_limit_the_first_one_for_ever() -> None:
    driver = driven()
    started = training_started(RunFolder(Path("/runs/r")))
    for ordinal in range(1, STARTS_MAX + 4):
        driver.send(msgspec.structs.replace(started, ordinal=ordinal))
    kept = [start.ordinal for start in driver.state.training.starts]
    assert len(kept) == STARTS_MAX + 1
    assert (kept[0], kept[1], kept[-1]) == (1, 4, STARTS_MAX + 3)


def test_changes_of_settings_and_bad_batches_are_remembered_up_to_a_limit() -> None:
    driver = driven()
    for number in range(LOG_MAX + 5):
        driver.send(SettingChanged(WALL_S, 1, number, "lr", str(number), str(number + 1), "schedule"))
        driver.send(NonfiniteSeen(WALL_S, 1, number, 1, None, (), None, True, (), False, ""))
    assert len(driver.state.training.settings_log) == len(driver.state.training.nonfinite_log) == LOG_MAX
    assert driver.state.training.settings_log[-1][1].new == str(LOG_MAX + 5)


def test_epochs_are_kept_up_to_a_limit_the_newest() -> None:
    driver = driven()
    for number in range(1, EPOCH_ROWS_MAX + 4):
        driver.send(msgspec.structs.replace(batch(Counts(batches=number)), epoch=number, batch=0))
    kept = [row.epoch for row in driver.state.training.epochs]
    assert (len(kept), kept[-1]) == (EPOCH_ROWS_MAX, EPOCH_ROWS_MAX + 3)


def test_devices_and_volumes_beyond_the_limit_are_passed_over() -> None:
    driver = driven()
    gpus = tuple(GpuSeen(index) for index in range(GPUS_MAX + 5))
    volumes = tuple(VolumeSeen(str(number), 1, 2) for number in range(VOLUMES_MAX + 5))
    driver.feed(HardwareSeen("r", volumes=volumes, gpus=gpus))
    assert len(driver.state.hardware.gpus) == GPUS_MAX
    assert len(driver.state.hardware.volumes) == VOLUMES_MAX


def test_an_incidents_timeline_keeps_both_ends_and_a_title_is_one_short_line() -> None:
    driver = driven(title="n\n" * NAME_MAX + "x" * NAME_MAX)
    at = Position(1, 1, 0, 1)
    incident = Incident("r-i1", 1, "nonfinite", Severity.CRITICAL, IncidentState.OPEN, 0.0, at, at)
    tx = Transaction(driver.state, driver.state.training, Policy(), WALL_S)
    for number in range(TIMELINE_MAX + 50):
        tx.record(incident, str(number))
    texts = [entry.text for entry in incident.timeline]
    assert len(texts) == TIMELINE_MAX
    assert texts[: TIMELINE_MAX // 2] == [str(number) for number in range(TIMELINE_MAX // 2)]
    assert texts[-1] == str(TIMELINE_MAX + 49)
    assert len(tx.name) == NAME_MAX
    assert "\n" not in tx.name


@pytest.mark.parametrize("times", [1, FLAGS_MAX + 10])
def test_bad_batches_within_a_window_are_remembered_up_to_a_limit(times: int) -> None:
    flags = NonfiniteWindow()
    for count in range(1, FLAGS_MAX + 20):
        flag(flags, Position(1, 1, 0, count), times if count == 1 else 1)
    assert len(flags.counts) == len(flags.positions) == FLAGS_MAX
    assert flags.counts[-1] == FLAGS_MAX + 19


def test_bad_batches_leave_the_window_and_only_they() -> None:
    """The rate over a window is wrong for ever where they stay."""
    flags = NonfiniteWindow()
    last = NONFINITE_WINDOW_MAX + 5
    for count in (1, 5, 6, last - 7, last - 6, last):
        flag(flags, Position(1, 1, 0, count), 1)
    assert flags.counts == [6, last - 7, last - 6, last] == [position.count for position in flags.positions]
    assert within(flags, last, NONFINITE_WINDOW_MAX) == 4
    assert within(flags, last, 7) == 2
    assert first_within(flags, last, 7).count == last - 6


def test_what_a_scaler_did_is_remembered_up_to_a_limit() -> None:
    scaler = Scaler()
    for count in range(3 * EVENTS_MAX):
        take_scale(scaler, count, 2.0 ** (20 - count), overflows=2)
    assert len(scaler.falls) == len(scaler.overflows) == EVENTS_MAX
    assert scaler.falls[-1] == scaler.overflows[-1] == 3 * EVENTS_MAX - 1


def test_findings_are_kept_up_to_a_limit_and_counted_beyond() -> None:
    driver = driven()
    driver.send(batch(Counts(batches=1)))
    for number in range(FINDINGS_MAX + 5):
        at = Position(1, 1, number, 1 + number * 1000)  # each begins a streak of its own
        found = Finding("plateau", "plateau", Severity.INFO, 0, at, at, "loss", 0.0, 0.0, "it says so")
        assert log_findings(driver.state.training, [found]) == [found]
    assert len(driver.state.training.findings) == FINDINGS_MAX
    assert driver.state.training.totals.findings["plateau/info"] == FINDINGS_MAX + 5


def test_streaks_are_forgotten_together_where_there_are_too_many() -> None:
    driver = driven()
    driver.send(batch(Counts(batches=1)))
    at = Position(1, 1, 0, 1)
    for number in range(STREAKS_MAX + 2):
        found = Finding(f"d{number}", "f", Severity.INFO, 0, at, at, "loss", 0.0, 0.0, "it says so")
        assert log_findings(driver.state.training, [found]) == [found]
    assert len(driver.state.training.streaks) == 2


def test_retries_of_the_allocator_are_remembered_up_to_a_limit() -> None:
    allocator = Allocator()
    for count, retries in enumerate((0, 1, 10_000), 1):
        take_allocator(allocator, msgspec.structs.replace(batch(Counts(batches=count)), alloc_retries=retries))
    assert allocator.retries == [3] * RETRIES_MAX


def test_incidents_are_kept_up_to_a_limit_and_no_id_is_given_twice() -> None:
    """An alert with the id of an older one would be taken for a repeat, and told to nobody."""
    training = Training()
    for _ in range(INCIDENTS_MAX + 3):  # each is given up; somebody starts the training again, and the next opens
        training.start()
        training.batches(8)
        training.batches(4, bad=True, cured=False)
        over = Exit(number=training.driver.state.generation, code=1, signal=None, ended_s=WALL_S)
        training.take(training.driver.feed(GenerationExited("r", over, relaunch=False)))
        training.driver.start_generation()
        training.counts = Counts()
    numbers = [incident.number for incident in training.driver.state.training.ledger.incidents]
    assert numbers == list(range(4, INCIDENTS_MAX + 4))
    opened = [alert.id for alert in training.asked(RaiseAlert) if alert.kind == "incident_opened"]  # type: ignore[attr-defined]
    assert len(opened) == len(set(opened)) == INCIDENTS_MAX + 3


def test_samples_of_an_onset_are_kept_up_to_a_limit_and_fewer_go_into_a_plan() -> None:
    training = Training(Policy(watch=Watch(batches_min=10), table=DecisionTable(adjust_after=3, early_share=0.0)))
    training.start()
    training.batches(60)
    for number in range(61, 64):
        names = tuple(f"{number}-{name}.jpg" for name in range(SAMPLES_MAX // 2))
        seen = NonfiniteSeen(WALL_S, 1, number - 1, 1, None, (), None, True, names, False, "")
        training.take(training.driver.send(seen))
        training.batches(1, bad=True)
    [incident] = training.driver.state.training.ledger.incidents
    assert len(incident.at_open.samples) == SAMPLES_MAX
    assert incident.action.plan is not None
    assert incident.action.plan.onset_samples == tuple(incident.at_open.samples[:ONSET_SAMPLES_MAX])


def test_checkpoints_that_are_being_examined_are_remembered_up_to_a_limit_and_asked_about_once() -> None:
    driver = driven()
    tx = Transaction(driver.state, driver.state.training, Policy(), WALL_S)
    for number in [*range(EXAMINING_MAX + 2), EXAMINING_MAX + 1]:
        examine(tx, CheckpointState(f"{number}.json", str(number), 1, 1, 0.0, 1))
    assert len(tx.effects) == EXAMINING_MAX + 2
    assert tx.ledger.copies.examining == [str(number) for number in range(2, EXAMINING_MAX + 2)]


def test_a_foreign_name_in_a_sentence_is_one_line_and_cut() -> None:
    assert foreign_name("n" * NAME_CHARS_MAX) == "n" * NAME_CHARS_MAX
    assert foreign_name("a\nb\x1b[31m" + "n" * NAME_CHARS_MAX) == "a b [31m" + "n" * (NAME_CHARS_MAX - 9) + "…"


def test_the_policies_of_many_runs_are_read_again_rather_than_kept() -> None:
    core = Core()
    for number in range(POLICIES_MAX + 8):
        driver = RunDriver(f"r{number}", now_s=WALL_S, core=core)
        spec = RunSpec(run=driver.run, argv=("python",), cwd="/", created_s=WALL_S, act=False)
        driver.open(spec, Policy(watch=Watch(batches_min=100 + number)).model_dump_json())
        driver.start_generation()
        assert 1 <= len(core._policies) <= POLICIES_MAX
    assert core.feed(Entry(core.fleet.seq + 1, WALL_S, Tick())).effects == []
