"""What the tables and the detail of a run look like."""

from __future__ import annotations

import msgspec
import pytest

from monitor.cli.show import print_table, printable
from monitor.cli.status_command import detail_lines
from monitor.core.format import ago, duration, moment
from monitor.daemon.api.snapshots import IncidentSummary, RunDetail, RunSummary

INCIDENT = IncidentSummary(
    id="n-i2", number=2, family="nonfinite", severity="critical", state="watching", live=True, opened_s=0.0,
    closed_s=None, onset_epoch=4, onset_batch=32, action="rollback", attempts=1, batches_discarded=44, watch_seen=30,
    watch_needed=1000, outcome="",
)  # fmt: skip
SUMMARY = RunSummary(
    run="n", title="the night", state="training", live=True, act=True, supervised=True, generation=2, epoch=4,
    epochs=50, batch=31, batches_per_epoch=100, batches=431, nonfinite=4, skipped=4, opened_s=0.0, ended_s=None,
    last_batch_s=990.0, incident=INCIDENT,
)  # fmt: skip
DETAIL = RunDetail(
    summary=SUMMARY, detail="", framework="ultralytics", device="cpu", save_dir="/runs/night", loss=2.5, pace_s=0.43,
    eta_s=1000.0 + 10 * 86400, deadline_s=1000.0 + 9 * 86400, deadline_kept=False, scaler_overflows=0, samples_lost=0,
    rollbacks=1, rollback_budget=3, checkpoints={"clean": 2, "suspect": 1}, incidents=2, final_metrics={}, port=9469,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (119, "1 min 59 s"),
        (120, "2 min 0 s"),
        (3599, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (17580, "4 h 53 min"),
        (829440, "9.6 days"),
    ],
)
def test_a_duration_is_said_in_the_units_that_matter(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_moment_is_in_utc_and_says_how_far_off_it_is() -> None:
    assert moment(1_795_016_040.0, 1_795_016_040.0 - 3600) == "2026-11-18 15:34 UTC (in 1 h 0 min)"
    assert moment(None, 0.0) == ago(None, 0.0) == "-"


def test_the_detail_says_what_holds_the_incident_open_and_that_the_deadline_is_missed() -> None:
    lines = dict(detail_lines(DETAIL, now_s=1000.0))
    assert lines["epoch"] == "4/50, batch 31/100"
    assert lines["incident"].startswith("2: watching, 30 of 1,000 healthy batches, it began at epoch 4, batch 32")
    assert lines["deadline"].endswith("NOT kept at this pace, 24 h 0 min too late")
    assert lines["checkpoints"] == "2 clean, 1 suspect"
    assert lines["last batch"] == "10 s ago"


@pytest.mark.parametrize(
    ("alerts", "waiting", "shown"),
    [
        ({}, 0, "none"),
        ({"phone/delivered": 3, "log/delivered": 1}, 0, "4 delivered"),
        ({}, 2, "2 waiting; daemon.log says why they wait"),
        (
            {"phone/refused": 1, "log/delivered": 1, "mail/expired": 2},
            1,
            "1 delivered, 2 expired, 1 refused, 1 waiting; not taken by mail, phone: try trainwarden alerts test mail",
        ),
    ],
)
def test_status_says_that_alerts_did_not_arrive(alerts: dict[str, int], waiting: int, shown: str) -> None:
    """Whom no message reaches has to learn it somewhere else."""
    found = msgspec.structs.replace(DETAIL, alerts=alerts, alerts_waiting=waiting)
    assert dict(detail_lines(found, now_s=1000.0))["alerts"] == shown


def test_a_title_cannot_move_the_cursor_or_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["run", "title"], [["n", "a\x1b[2Jb\r\nc [red]d"]])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb\\r\\nc [red]d" in shown
    assert printable("Läuft, 夜") == "Läuft, 夜"
