"""The public names: present, of the right kind, and never stale."""

from __future__ import annotations

import copy
import gzip
import math
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.core.detectors import load_all
from monitor.core.detectors.hang import HangConfig
from monitor.core.engine import Core
from monitor.core.model import (
    CommandGiven,
    CommandKind,
    Entry,
    Family,
    IncidentState,
    Input,
    RecordArrived,
    RunOpened,
    Severity,
    SupervisorChanged,
)
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.state.run import Fleet
from monitor.daemon.metrics import exposition, readings
from monitor.daemon.metrics.histograms import Timings
from monitor.daemon.metrics.metric_reference import reference
from tests.bench.scrape import fleet_of, timings_of
from tests.harness.report_inputs import gone_back
from tests.harness.trainer import batch
from tests.unit.monitor.test_pipeline import batches, opening
from trainer_hooks.wire.messages import Counts
from trainer_hooks.wire.run_documents import RunSpec

FROM_THE_START = {
    "up", "run_info", "generation", "step", "batches_total", "nonfinite_batches_total", "skipped_steps_total",
    "scaler_overflows_total", "orders_total", "rollbacks_total", "batches_lost_total", "incidents_total",
    "frames_dropped_total", "hook_errors_total", "alerts_sent_total", "checkpoints", "incident_open", "alerts_pending",
    "findings_total", "messages_refused_total", "checkpoint_copies_lost_total",
}  # fmt: skip
WITH_BATCHES = {
    "epoch", "batches_per_epoch", "last_batch_timestamp_seconds", "eta_timestamp_seconds", "loss", "grad_norm",
    "learning_rate", "weight_decay", "momentum", "clip_norm", "gpu_memory_bytes", "batch_seconds_bucket",
    "data_wait_seconds_sum",
}  # fmt: skip


def _around(now_s: float = 2_000_000_000.0) -> exposition.Surroundings:
    return exposition.Surroundings(now_s, "0.1.0", {"night": 2}, frozenset({("night", "ops")}))


def _core(*given: Input) -> Core:
    core = Core()
    for i, one in enumerate(given):
        core.feed(Entry(i + 1, 1_795_016_040.0 + i, one))
    return core


def _exposed(fleet: Fleet, timings: Timings | None = None) -> str:
    collected = exposition.collect(fleet, _around(), timings or Timings())
    return exposition.render(collected, "")[0].decode()


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (s.name.removeprefix("trainwarden_"), tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_every_counter_shows_before_anything_happened() -> None:
    names = {name for name, _ in _samples(_exposed(_core(*opening()).fleet))}
    assert FROM_THE_START - names == set()


def test_gauges_come_with_the_first_batches_and_not_before() -> None:
    before = {name for name, _ in _samples(_exposed(_core(*opening()).fleet))}
    assert (WITH_BATCHES - {"batches_per_epoch"}) & before == set()
    after = {name for name, _ in _samples(_exposed(_core(*opening(), *batches(60, nonfinite=1)).fleet))}
    assert WITH_BATCHES - after == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not here")
def test_the_exposition_passes_promtool() -> None:
    timings = Timings()
    timings.add("night", 0.00003)
    text = _exposed(_core(*opening(), *batches(60, nonfinite=4)).fleet, timings)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stderr == b""


def test_values_are_those_of_the_state() -> None:
    found = _samples(_exposed(_core(*opening(), *batches(60, nonfinite=4)).fleet))
    run = ("run", "night")
    assert found["batches_total", (run,)] == 60
    assert found["nonfinite_batches_total", (("kind", "any"), run)] == 4
    assert found["nonfinite_batches_total", (("kind", "buffer"), run)] == 0
    assert found["skipped_steps_total", (("by", "guard"), run)] == 4
    assert found["incident_open", (run, ("severity", "critical"))] == 1
    assert found["incident_open", (run, ("severity", "info"))] == 0
    assert math.isnan(found["loss", (("part", "total"), ("rank", "0"), run)])
    assert found["learning_rate", (("group", "bias"), ("rank", "0"), run)] == 0.1
    assert found["gpu_memory_bytes", (("kind", "reserved"), ("rank", "0"), run)] == 4_200_000_000
    assert found["alerts_pending", (run,)] == 2
    assert found["alerts_sent_total", (("outcome", "refused"), ("receiver", "ops"), run)] == 0
    assert found["batch_seconds_count", (run,)] == 60
    assert found["up", (run,)] == 1


def test_every_family_that_can_open_an_incident_shows_before_the_first() -> None:
    found = _samples(_exposed(_core(*opening()).fleet))
    shown = {dict(labels)["family"]: value for (name, labels), value in found.items() if name == "incidents_total"}
    critical = {one.family for one in load_all().values() if one.at_most is Severity.CRITICAL}
    assert {"nonfinite", "loss", "gradient", "hang"} <= critical
    assert shown == dict.fromkeys([*critical, Family.OPERATOR], 0)


def test_a_rollback_that_a_person_asks_for_is_counted_as_an_incident() -> None:
    asked = CommandGiven("night", CommandKind.ROLLBACK, "ann")
    core = _core(*opening(), SupervisorChanged("night", 22), *batches(5), asked)
    labels = (("family", "operator"), ("run", "night"), ("severity", "info"))
    assert _samples(_exposed(core.fleet))["incidents_total", labels] == 1


def test_findings_are_counted_by_detector_and_severity_and_show_before_the_first() -> None:
    found = _samples(_exposed(_core(*opening(), *batches(60, nonfinite=4)).fleet))
    counted = {labels: value for (name, labels), value in found.items() if name == "findings_total" and value}
    burst = (("detector", "nonfinite_burst"), ("run", "night"), ("severity", "critical"))
    assert counted[burst] == 1
    assert found["findings_total", (("detector", "hang"), ("run", "night"), ("severity", "warning"))] == 0


def test_a_detector_that_is_switched_off_has_no_series() -> None:
    core = _core(*opening())
    run = core.fleet.runs["night"]
    run.policy = Policy(detectors=Detectors(hang=HangConfig(enabled=False))).model_dump_json()
    assert 'detector="hang"' not in _exposed(core.fleet)


@pytest.mark.parametrize(
    ("ranks", "shown"), [(1, {"0"}), (8, set("01234567")), (9, {"min", "max"}), (64, {"min", "max"})]
)
def test_many_ranks_show_as_their_extremes(ranks: int, shown: set[str]) -> None:
    given = [
        RecordArrived("night", 1, rank, msgspec.structs.replace(batch(Counts(batches=1)), grad_norm=float(rank)))
        for rank in range(ranks)
    ]
    found = _samples(_exposed(_core(*opening(), *given).fleet))
    norms = {dict(labels)["rank"]: value for (name, labels), value in found.items() if name == "grad_norm"}
    assert set(norms) == shown
    assert max(norms.values()) == ranks - 1


def test_hostile_labels_are_escaped() -> None:
    core = _core(*opening())
    run = core.fleet.runs["night"]
    run.spec = msgspec.structs.replace(run.spec, title='x"} 1\nfake_metric 7\n\\')
    text = _exposed(core.fleet)
    assert not any(line.startswith("fake_metric") for line in text.splitlines())
    assert any(dict(labels).get("title") == run.spec.title for _, labels in _samples(text))


def test_a_run_that_left_the_state_leaves_no_series() -> None:
    core = _core(*opening(), *batches(5))
    timings = Timings()
    timings.add("night", 0.001)
    del core.fleet.runs["night"]
    timings.keep(core.fleet.runs)
    assert 'run="night"' not in _exposed(core.fleet, timings)
    assert timings.of("night") == ([], 0.0)


def test_openmetrics_is_spoken_to_those_who_ask_for_it() -> None:
    collected = exposition.collect(_core(*opening()).fleet, _around(), Timings())
    data, headers = exposition.render(collected, "application/openmetrics-text; version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert data.endswith(b"# EOF\n")


def test_it_is_compressed_for_those_who_ask_for_it() -> None:
    collected = exposition.collect(_core(*opening()).fleet, _around(), Timings())
    plain, headers = exposition.render(collected, "")
    assert "content-encoding" not in headers
    packed, headers = exposition.render(collected, "", "gzip;q=1.0, *;q=0")
    assert headers["content-encoding"] == "gzip"
    names = [line.split()[0] for line in gzip.decompress(packed).splitlines() if b"trainwarden" in line]
    assert names == [line.split()[0] for line in plain.splitlines() if b"trainwarden" in line]
    assert len(packed) < len(plain) / 4


def _announced(core: Core, number: int) -> str:
    name = f"run{number:03}"
    spec = RunSpec(run=name, argv=(), cwd="/", created_s=0.0, act=False)
    core.feed(Entry(number + 1, 1_795_016_040.0 + number, RunOpened(spec, Policy().model_dump_json())))
    return name


def _shown_runs(found: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> set[str]:
    return {dict(labels)["run"] for _, labels in found if "run" in dict(labels)}


def test_live_and_newest_runs_are_shown_and_no_more_than_fit_a_scrape() -> None:
    core = Core()
    names = [_announced(core, number) for number in range(120)]
    core.fleet.runs[names[0]].alive = True  # the oldest one trains
    found = _samples(_exposed(core.fleet))
    shown, of_runs = _shown_runs(found), [key for key in found if "run" in dict(key[1])]
    assert len(of_runs) <= exposition.SERIES_MAX
    assert names[0] in shown
    assert names[-1] in shown
    assert names[1] not in shown
    assert found["runs_left_out", ()] == 120 - len(shown) > 0
    each = len(of_runs) // len(shown)
    assert exposition.SERIES_MAX - len(of_runs) < 2 * each, "room was left for another run"


def test_a_run_shows_its_counters_and_no_more_series_than_its_share() -> None:
    core = _core(*opening(), *batches(5))
    training = core.fleet.runs["night"].training
    parts = tuple(f"part{number}" for number in range(exposition.SERIES_OF_RUN_MAX))
    assert training.started is not None
    training.started = msgspec.structs.replace(training.started, part_names=parts)
    last = training.ranks[0].last
    assert last is not None
    last.batch = msgspec.structs.replace(last.batch, parts=(1.0,) * len(parts))
    found = _samples(_exposed(core.fleet))
    of_run = [key for key in found if "run" in dict(key[1])]
    assert len(of_run) == exposition.SERIES_OF_RUN_MAX
    assert found["series_left_out", ()] > 0
    assert found["batches_total", (("run", "night"),)] == 5


def test_open_incidents_and_the_newest_are_shown_with_where_their_report_is() -> None:
    core = _core(*opening(), *batches(60, nonfinite=4))
    (incident,) = core.fleet.runs["night"].training.ledger.incidents
    name = "incident_opened_timestamp_seconds"
    ((labels, value),) = [(dict(k[1]), v) for k, v in _samples(_exposed(core.fleet)).items() if k[0] == name]
    assert (labels["incident"], labels["severity"], value) == (incident.id, "critical", incident.opened_s)
    assert labels["report"] == "/api/v1/runs/night/report?incident=1"
    incidents = core.fleet.runs["night"].training.ledger.incidents
    for number in range(2, readings.INCIDENTS_SHOWN_MAX + 10):
        another = copy.deepcopy(incident)
        another.id, another.number = f"night-i{number}", number
        incidents.append(another)
    shown = [key for key in _samples(_exposed(core.fleet)) if key[0] == name]
    assert len(shown) == readings.INCIDENTS_SHOWN_MAX
    for each in incidents:
        each.state = IncidentState.RESOLVED
    shown = [key for key in _samples(_exposed(core.fleet)) if key[0] == name]
    assert len(shown) == readings.INCIDENTS_SHOWN


def test_checkpoints_and_snapshots_have_a_time_each() -> None:
    run = gone_back().run
    checkpoint, snapshot = run.training.checkpoints
    found = _samples(_exposed(Fleet(runs={"night": run})))
    of_run = (("run", "night"),)
    assert snapshot.saved_s > checkpoint.saved_s
    assert found["last_checkpoint_timestamp_seconds", of_run] == checkpoint.saved_s
    assert found["last_snapshot_timestamp_seconds", of_run] == snapshot.saved_s
    run.training.checkpoints.remove(snapshot)
    assert ("last_snapshot_timestamp_seconds", of_run) not in _samples(_exposed(Fleet(runs={"night": run})))


def test_the_process_of_the_daemon_and_its_python_are_shown() -> None:
    lines = _exposed(_core(*opening()).fleet).splitlines()
    starts = {line.split("{")[0].split(" ")[0] for line in lines}
    assert {"process_resident_memory_bytes", "process_start_time_seconds", "python_info"} <= starts


def test_the_reference_is_the_one_that_the_table_makes() -> None:
    written = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text()
    assert written == reference(), "run `make docs`"


def test_fifty_live_runs_fit_and_every_family_of_them_shows_from_zero() -> None:
    """Each detector shows at each severity that people may be alerted about, before it has found anything."""
    fleet = fleet_of(50)
    for run in fleet.runs.values():
        run.alive = True
    found = _samples(_exposed(fleet, timings_of(fleet)))
    assert found["runs_left_out", ()] == found["series_left_out", ()] == 0
    assert len(_shown_runs(found)) == 50
    for name, registered in load_all().items():
        label = (("detector", name), ("run", "run-000"), ("severity", str(registered.at_most)))
        assert ("findings_total", label) in found, name
    info = (("detector", "hang"), ("run", "run-000"), ("severity", "info"))
    assert ("findings_total", info) not in found
