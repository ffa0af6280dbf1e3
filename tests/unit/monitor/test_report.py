"""The report of the night answers what people asked in the morning; hostile names stay text."""

from __future__ import annotations

import math
import re

import msgspec
import pytest
from markdown_it import MarkdownIt

from monitor.core.model import ActionKind, Incident, IncidentState, Option, Position, Severity
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState
from monitor.report import render
from tests.harness.night import BATCHES_SEEN, NOW_S, night
from trainer_hooks.wire.messages import SettingChanged
from trainer_hooks.wire.run_documents import RunSpec

HOSTILE = (
    "x\n# Owned | `rm` <img src=x onerror=alert(1)> [a](javascript:1) **b** _c_ www.evil.example @all \u202e\x1b[31m\\"
)


@pytest.fixture
def report() -> str:
    run, incident = night()
    return render(run, run.training, incident, NOW_S)


def section(text: str, title: str) -> str:
    """The lines below a heading."""
    return text.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def test_it_counts_the_night_and_projects_the_epoch(report: str) -> None:
    assert "73 of 7,550 batches not finite (0.97 %); at that rate about 400 in the whole epoch of 41,163" in report
    assert "First bad batch: epoch 4, batch 32" in report


def test_the_epoch_table_sets_the_bad_epoch_beside_the_clean_ones(report: str) -> None:
    rows = [line for line in section(report, "Epochs side by side").splitlines() if line.startswith("| ")]
    assert len(rows) == 6
    assert "| 3 | 1 | ended | 41,163 | 0 | 0 | 4.20 GiB | 1.7 | 1.367 | 1.033 | 4 h 53 min |" in rows
    assert "| 4 | 1 | running | 7,550 of 41,163 | 73 (0.97 %) | 72 | 4.20 GiB -> 4.71 GiB |" in rows[-1]


def test_73_nan_against_72_skips_is_explained_by_accumulation(report: str) -> None:
    told = section(report, "NaN batches and skipped steps")
    assert "73 NaN batches, 72 skipped steps (0 by the guard, 72 by the scaler)" in told
    assert "about 3.0 batches (accumulation): 1 NaN batch shared a skipped step" in told


def test_isolated_overflows_explain_more_skips_than_nan_batches() -> None:
    run, incident = night()
    run.training.epochs[-1].skipped_by_scaler, run.training.epochs[-1].overflows = 78, 5
    told = section(render(run, run.training, incident, NOW_S), "NaN batches and skipped steps")
    assert "5 isolated scaler overflows skipped a step each" in told
    assert "Each NaN batch cost" not in told
    assert "more than NaN batches" not in told, "73 are left when the overflows are taken off"


def test_the_same_number_of_nan_batches_and_skips_is_said_too() -> None:
    run, incident = night()
    run.training.epochs[-1].skipped_by_scaler = 73
    assert "Each NaN batch cost one step" in render(run, run.training, incident, NOW_S)


def test_memory_growth_is_put_down_to_the_crowded_image_in_the_same_batch(report: str) -> None:
    told = section(report, "GPU memory")
    assert "from 4.20 GiB to 4.71 GiB (+0.51 GiB), at batch 2,417 of epoch 4" in told
    assert "731 objects (batch 2,417), against 212 in epoch 3" in told


def test_memory_growth_in_another_batch_is_not_put_down_to_crowding() -> None:
    run, incident = night()
    run.training.epochs[-1].instances_max_at = 5000
    assert "crowded images did not drive it" in render(run, run.training, incident, NOW_S)


def test_memory_that_grew_between_two_epochs_is_not_put_down_to_a_batch() -> None:
    run, incident = night()
    run.training.epochs[-1].reserved_first = run.training.epochs[-1].reserved_max
    assert "by what lies between epoch 3 and 4" in render(run, run.training, incident, NOW_S)


def test_the_bias_group_is_seen_at_80_times_lr0(report: str) -> None:
    told = section(report, "Learning rate by group")
    assert "Group bias ran at 0.0403, **80 times lr0** (0.0005)" in told
    assert "Group weight" not in told


def test_the_scheduler_and_the_end_of_warm_up_are_ruled_out_by_numbers(report: str) -> None:
    told = section(report, "Learning rate by group")
    assert "No group's rate jumped between the end of epoch 3 and the start of epoch 4" in told
    assert "Warm-up was on: 3.00 of 5 epochs" in told


def test_a_jump_of_a_rate_is_named() -> None:
    run, incident = night()
    run.training.epochs[-1].rates_first = (0.000282, 0.000282, 0.0701)
    assert "The rate jumped between the end of epoch 3 and the start of epoch 4: bias 0.0403 -> 0.0701" in render(
        run, run.training, incident, NOW_S
    )


def test_a_setting_that_changed_since_the_last_clean_epoch_is_listed() -> None:
    run, incident = night()
    run.training.settings_log.append((1, SettingChanged(NOW_S, 4, 0, "accumulate", "3", "4", "warm-up")))
    run.training.settings_log.append((1, SettingChanged(NOW_S, 1, 0, "imgsz", "320", "640", "")))
    told = section(render(run, run.training, incident, NOW_S), "What changed since epoch 3")
    assert "| epoch 4, batch 0 | accumulate | 3 -> 4 | warm-up |" in told
    assert "imgsz" not in told


def test_time_lost_is_the_thrown_away_batches_at_the_runs_pace_plus_the_standstill() -> None:
    run, incident = night()
    incident.totals.batches_discarded, incident.totals.downtime_s, incident.action.resumed_s = BATCHES_SEEN, 72.0, NOW_S
    incident.state = IncidentState.WATCHING
    told = section(render(run, run.training, incident, NOW_S), "Time lost")
    assert "55 min 1 s in all" in told
    assert "thrown away: 7,550 batches x 0.428 s = 53 min 49 s" in told
    assert "to the first new batch: 1 min 12 s" in told


def test_an_adjustment_in_place_loses_no_batch() -> None:
    run, incident = night()
    incident.action.kind, incident.action.plan = ActionKind.ADJUST, None
    assert "no trained batch was thrown away" in section(render(run, run.training, incident, NOW_S), "Time lost")


def test_the_deadline_is_judged_by_the_runs_own_pace(report: str) -> None:
    told = section(report, "Deadline")
    assert "0.428 s a batch, 4 h 53 min an epoch" in told
    assert "47.0 epochs are left: 9.6 days. It ends on 2025-11-27 21:49:35 UTC" in told
    assert "**The deadline of 2025-11-28 00:00:00 UTC is uncertain**: 2 h 10 min to spare" in told


@pytest.mark.parametrize(("days", "verdict"), [(5, "missed"), (15, "kept")])
def test_a_deadline_far_off_the_projection_is_kept_or_missed_without_doubt(days: int, verdict: str) -> None:
    run, incident = night()
    run.spec = msgspec.structs.replace(run.spec, deadline_s=NOW_S + days * 86400)
    assert f"UTC is {verdict}**" in render(run, run.training, incident, NOW_S)


def test_every_checkpoint_has_a_verdict_and_the_reason_for_it(report: str) -> None:
    rows = [line for line in section(report, "Checkpoints").splitlines() if line.startswith("| ")]
    chosen = next(row for row in rows if "gone back to" in row)
    assert chosen.startswith("| 3 |")
    assert "**clean**" in chosen
    assert "57 BatchNorm layers with running_var above 0" in chosen
    assert any("best" in row and row.startswith("| 1 |") for row in rows)


def test_the_decision_gives_its_reason_and_each_setting_old_and_new(report: str) -> None:
    told = section(report, "Decision")
    assert "Stop and roll back: epoch 3 is the newest clean checkpoint before the onset" in told
    assert "Back to the end of epoch 3" in told
    assert "| learning rate (lr0) | 0.0005 | 0.00025 |" in told
    assert "| **chosen** | go back with strengthened settings |" in section(report, "Options")


def test_the_outcome_follows_the_incident() -> None:
    run, incident = night()
    incident.state, incident.watch.needed, incident.watch.seen, incident.watch.samples_left = (
        IncidentState.WATCHING,
        1000,
        250,
        2,
    )
    watching = section(render(run, run.training, incident, NOW_S), "Outcome")
    assert (
        "Not proven yet: 250 of 1,000 healthy batches at the new learning rate; 2 samples of the onset not met"
        in watching
    )
    incident.state, incident.closed_s, incident.outcome = IncidentState.RESOLVED, NOW_S, "1,000 healthy batches"
    assert "Resolved on 2025-11-18 08:00:00 UTC: 1,000 healthy batches." in render(run, run.training, incident, NOW_S)


def test_every_line_of_the_story_has_its_time_and_zone(report: str) -> None:
    assert "| 2025-11-18 07:59:30 UTC | rolling back to epoch 3 |" in section(report, "The timeline")


def _hostile() -> tuple[RunState, Incident]:
    run, incident = night()
    assert run.training.started is not None
    run.spec = msgspec.structs.replace(run.spec, title=HOSTILE)
    run.training.started = msgspec.structs.replace(
        run.training.started, part_names=(HOSTILE,) * 3, group_names=(HOSTILE,) * 3, versions={HOSTILE: HOSTILE}
    )
    run.training.started.settings["data"] = HOSTILE
    run.training.nonfinite_log[0] = (1, msgspec.structs.replace(run.training.nonfinite_log[0][1], first_bad=HOSTILE))
    run.training.settings_log.append((1, SettingChanged(NOW_S, 4, 0, HOSTILE, HOSTILE, HOSTILE, HOSTILE)))
    run.training.checkpoints[0].reasons = [HOSTILE]
    run.training.checkpoints[1].saved_s = math.inf
    run.ended, run.ended_detail, run.training.final_metrics = "failed", HOSTILE, {HOSTILE: math.nan}
    incident.at_open.samples = [HOSTILE] * 40
    incident.action.reason = incident.outcome = HOSTILE
    incident.at_open.options.append(Option(HOSTILE, HOSTILE, False))
    incident.timeline[0] = msgspec.structs.replace(incident.timeline[0], text=HOSTILE)
    incident.findings[0] = msgspec.structs.replace(incident.findings[0], summary=HOSTILE)
    return run, incident


def test_hostile_names_stay_text_in_markdown_and_html() -> None:
    """Rendered by a real Markdown parser: no link, image, code, emphasis, heading or tag comes from them."""
    run, incident = _hostile()
    text = render(run, run.training, incident, NOW_S)
    assert "\u202e" not in text
    assert "\x1b" not in text
    page = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)
    assert not re.search(r"<(img|a|code|em|del|script)\b", page)
    assert page.count("<h1>") == 1
    assert "Owned" in page
    assert "<strong>b</strong>" not in page


def test_hostile_names_break_no_table() -> None:
    """Each row of a table has as many cells as its header, whatever stands in it."""
    run, incident = _hostile()
    page = MarkdownIt("gfm-like", {"linkify": False}).render(render(run, run.training, incident, NOW_S))
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert len(tables) == 8
    for table in tables:
        columns = len(re.findall("<th>", table))
        assert all(len(re.findall("<td>", row)) == columns for row in table.split("</tr>")[1:-1])


def test_a_run_that_has_shown_nothing_yet_still_gets_a_report() -> None:
    at = Position(1, 1, 0, 1)
    incident = Incident("r-i1", 1, "nonfinite", Severity.CRITICAL, IncidentState.OPEN, NOW_S, at, at)
    spec = RunSpec(run="r", argv=("python",), cwd="/", created_s=NOW_S, act=True)
    run = RunState(spec=spec, policy="", opened_s=NOW_S)
    text = render(run, run.training, incident, NOW_S)
    assert text.startswith("# Incident 1 of r\n")
    assert "None was saved." in text
    assert "Still open." in text


def test_senseless_numbers_from_a_trainer_break_nothing() -> None:
    run, incident = night()
    assert run.training.started is not None
    run.training.started = msgspec.structs.replace(run.training.started, batches_per_epoch=0)
    run.training.started.settings.update(lr0="nan", warmup_epochs="inf")
    run.training.epochs[-1] = EpochRow(
        1, 4, 0, NOW_S, rates_first=(math.inf, math.nan, -1.0), reserved_max=0, batches=1
    )
    text = render(run, run.training, incident, NOW_S)
    assert "nobody said how many batches there are" in text


def test_a_run_without_a_deadline_says_when_it_ends() -> None:
    run, incident = night()
    run.spec = msgspec.structs.replace(run.spec, deadline_s=None)
    assert "No deadline was given." in render(run, run.training, incident, NOW_S)


def test_a_finished_run_is_held_against_its_deadline() -> None:
    run, incident = night()
    run.ended, run.ended_s = "finished", NOW_S
    assert "was kept, 9.7 days to spare" in render(run, run.training, incident, NOW_S)


@pytest.mark.parametrize(("framework", "shown"), [("ultralytics", True), ("torch", False)])
def test_a_clip_that_nobody_named_is_not_shown_as_one_in_force(framework: str, shown: bool) -> None:
    """The policy assumes a norm where a loop gives none; the report said that the loop clipped to it."""
    run, incident = night()
    assert run.training.started is not None
    run.training.started = msgspec.structs.replace(run.training.started, framework=framework)
    for rank in run.training.ranks.values():
        if rank.last is not None:
            rank.last.values.pop("clip_norm", None)
    text = render(run, run.training, incident, NOW_S)
    assert ("gradient clip (max norm)" in section(text, "Settings in force at the onset")) is shown
