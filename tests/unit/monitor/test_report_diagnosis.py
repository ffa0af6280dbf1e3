"""The report's "Likely cause" and "What changed": there, in order, honest where there is none, and safe."""

from __future__ import annotations

from monitor.report import render
from monitor.report.diagnosis import likely_cause, what_changed
from tests.harness.night import NOW_S, night
from tests.harness.planted import FORWARD, HEALTHY, Planted
from trainer_hooks.wire.messages import Nonfinite

HOSTILE = "<img src=x onerror=alert(1)> | **bold** [a](http://evil.example)\n# heading"


def diagnosed(*, change: bool = False, **settings: str) -> Planted:
    training = Planted(
        1, batches_per_epoch=150, group_names=(HOSTILE, "bias"), settings=settings, framework="ultralytics"
    )
    training.calm(300)
    if change:
        training.setting(HOSTILE, HOSTILE, HOSTILE + "2")
    for i in range(1000):
        hit = i % 150 == 11
        bad = FORWARD | Nonfinite.BUFFER if hit else HEALTHY
        training.batch(bad=bad, samples=(HOSTILE, f"{i}.jpg"), first_bad=HOSTILE)
    return training


def test_the_cause_stands_after_what_happened_and_before_the_numbers() -> None:
    training = diagnosed()
    text = render(training.run, training.incident, training.now_s)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    at = headings.index("## Likely cause")
    assert headings[at - 1 : at + 2] == ["## What happened", "## Likely cause", "## What changed"]


def test_evidence_for_and_against_and_the_test_are_told() -> None:
    training = diagnosed()
    text = "\n".join(likely_cause(training.run, training.incident, training.now_s))
    assert "for: sample" in text
    assert "against: images are loaded as bytes" in text
    assert "The test that would confirm it: " in text


def test_hostile_names_are_words_in_it() -> None:
    """Sample, setting and parameter group: each comes from outside."""
    training = diagnosed(change=True, lr0="0.0001")
    text = "\n".join(
        [
            *likely_cause(training.run, training.incident, training.now_s),
            *what_changed(training.run, training.incident, training.now_s),
        ]
    )
    assert "&lt;img" in text
    assert "<img" not in text
    assert "[a](" not in text
    assert "http://" not in text
    assert "\n# heading" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)


def test_a_run_of_an_older_daemon_has_no_such_section() -> None:
    run, incident = night()
    assert incident.diagnosis is None
    assert likely_cause(run, incident, NOW_S) == []
    assert what_changed(run, incident, NOW_S) == []
    assert "## Likely cause" not in render(run, incident, NOW_S)
