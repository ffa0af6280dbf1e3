"""The live trainings of the bench, without torch: what is planned, how recordings are read, how a child is ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from monitor.core.model import CheckpointExamined, Verdict
from monitor.recorded.stream import Recorded
from tests.bench.detection.contenders import Alarm, AlarmLevel
from tests.bench.detection.live.__main__ import line_of, main
from tests.bench.detection.live.catalogue import FAMILIES, ON_A_GPU, deadline_s, groups
from tests.bench.detection.live.children import run_group
from tests.bench.detection.live.experiment import Experiment
from tests.bench.detection.live.steps import Seen, hang_limit_s, read_verdicts, steps_of
from tests.bench.detection.play import Outcome, TimedAlarm
from tests.bench.detection.streams import LASTS, SEVERITIES, Arrived, Case, Observed, Silence
from tests.harness.records import batch, phase
from trainer_hooks.wire.run_documents import Manifest


def seen(at_s: float) -> Seen:
    manifest = Manifest(
        run="bench", generation=1, rank=0, ordinal=1, serial=1, file="a", source="", digest="d", size=1, epoch=1,
        batches=1, nonfinite_batches=0, is_best=False, saved_s=at_s,
    )  # fmt: skip
    return Seen(at_s, CheckpointExamined("bench", manifest, "a", Verdict.SOUND, (), 0.1))


def test_the_same_seed_plans_the_same_trainings_and_another_seed_others() -> None:
    assert list(groups(1, quick=False)) == list(groups(1, quick=False))
    assert list(groups(1, quick=False)) != list(groups(2, quick=False))


def test_no_two_trainings_of_a_kind_share_a_seed() -> None:
    planned = [p.experiment for group in groups(7, quick=False, gpu=True) for p in group]
    drawn = [(experiment.training, experiment.seed) for experiment in planned]
    assert len(set(drawn)) == len(drawn)


def test_healthy_batches_are_at_least_ten_times_the_faulty_ones_and_180_thousand() -> None:
    planned = [p.experiment for group in groups(1, quick=False) for p in group]
    healthy = sum(e.batches for e in planned if not e.fault)
    faulty = sum((e.lasts or e.batches - e.at) for e in planned if e.fault)
    assert healthy >= 10 * faulty
    assert healthy >= 180_000


def test_every_planned_fault_has_a_family_a_level_and_a_length_that_the_table_knows() -> None:
    planned = [p for group in groups(1, quick=False, gpu=True) for p in group if p.experiment.fault]
    assert {p.experiment.fault for p in planned} == set(FAMILIES)
    assert {p.severity for p in planned} <= set(SEVERITIES)
    assert {p.lasts for p in planned} <= set(LASTS)
    assert all(p.experiment.batches > p.experiment.at >= 150 for p in planned)


def test_what_needs_a_gpu_is_planned_only_where_there_is_one() -> None:
    without = [p.experiment.device for group in groups(1, quick=False) for p in group]
    assert set(without) == {"cpu"}
    assert ON_A_GPU.plain.device == "cuda"


def test_a_child_has_time_for_every_batch_and_for_the_hang_that_is_asked_of_it() -> None:
    with_hang = next(group for group in groups(1, quick=False) if any(p.experiment.fault == "hang" for p in group))
    least = sum(p.experiment.period_s * p.experiment.batches + p.experiment.strength for p in with_hang)
    assert deadline_s(with_hang) > 2 * least


def test_an_experiment_can_be_run_again_from_its_text() -> None:
    experiment = Experiment("chars", 3, 700, "bf16", "variable", "hang", 40.0, 500, 1)
    assert msgspec.json.decode(experiment.text(), type=Experiment) == experiment
    assert experiment.kind == "chars bf16 variable"
    assert [experiment.active(at) for at in (499, 500, 501)] == [False, True, False]


def test_a_gap_between_records_is_a_silence_and_verdicts_come_in_their_order() -> None:
    records = [Recorded(10.0, batch(0)), Recorded(11.0, batch(1)), Recorded(52.0, batch(2)), Recorded(52.1, phase())]
    steps = list(steps_of(records, [seen(11.5)]))
    assert [type(step) for step in steps] == [Arrived, Arrived, Observed, Silence, Arrived, Arrived]
    assert steps[3] == Silence(11.5, 40.5)


def test_verdicts_are_read_back_as_they_were_written() -> None:
    lines = b"".join(msgspec.json.encode(seen(at)) + b"\n" for at in (1.0, 2.0))
    assert read_verdicts(lines) == [seen(1.0), seen(2.0)]


def test_a_hang_is_in_time_within_half_a_minute_or_five_of_the_longest_intervals_before_it() -> None:
    short = [Recorded(0.1 * at, batch(at)) for at in range(10)]
    long = [Recorded(9.0 * at, batch(at)) for at in range(10)]
    assert hang_limit_s(short, 5) == 30.0
    assert hang_limit_s(long, 5) == 45.0


def test_streams_are_not_left_among_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        main(["--quick", "--keep", str(tmp_path)])
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_line_says_what_was_found_how_late_and_what_was_not() -> None:
    case = Case("numerical", "NaN in one sample", "high", "1 batch", True, False, 5, (), kind="mlp fp32")
    told = TimedAlarm(Alarm(AlarmLevel.WARNING, "nonfinite_batch", (), 0, "loss not finite"), 6, 0.0)
    assert line_of(Outcome(case, "x", tuple(AlarmLevel), [told])).endswith(
        "+1 [batch 6, warning, nonfinite_batch] loss not finite"
    )
    assert line_of(Outcome(case, "x", ())).endswith("not found")
    broken = replace(case, error="the child ended with 1")
    assert line_of(Outcome(broken, "x", ())).endswith("FAILED: the child ended with 1")


def test_a_child_that_does_not_finish_is_ended_and_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    errors = run_group([Experiment("mlp", 1, 10_000_000)], tmp_path, deadline_s=0.2)
    assert len(errors) == 1
    assert "did not finish within 0 s and was ended" in errors[0]
