"""Whatever happened to a run, what is said of it is plain, counts right, and does not contradict itself."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.model import ActionKind, AlertKind, Family, Verdict
from monitor.core.policy.settings import Policy, Rollback, Watch
from monitor.core.policy.table_settings import WhenClean
from monitor.core.summary import shown_incident, shown_training, summary_of
from monitor.daemon.api.snapshots import checkpoints_of
from tests.harness.histories import HISTORIES
from tests.harness.said import Played, said_of
from tests.harness.simulation import At, supervised

NOUNS = (
    "batches|steps|epochs|checkpoints|rollbacks|samples|losses|findings|incidents|ranks|generations|tries|trainings|"
    "starts|overflows|warnings|snapshots|rows|components|errors|looks|rules|times|days"
)
SAME_LINES = 8  # generations, quarters of a watch
UNTRUE = {  # what no text may hold, whatever it is about
    "a plural of one": re.compile(rf"(?<![\d,.\-])1 (?:[a-z-]+ )?(?:{NOUNS})\b"),
    "a singular of several": re.compile(
        r"(?<![\d,.])(?:0|[2-9]|\d[\d,]*\d) (?:batch|step|try|rollback|finding)\b(?!-)"
    ),
    "a plural that is none": re.compile(r"\b(?:trys|batchs|lossess|epochss)\b"),
    "None in a sentence": re.compile(r"(?<!^)(?<![:*|] )None", re.MULTILINE),
    "a number that is none": re.compile(r"\b(?:nan|inf) ?%|-inf\b|\binf\b"),
    "a per cent sign without its space": re.compile(r"\d%"),
    "an empty bracket": re.compile(r"\( ?\)|\[ ?\]|''|``"),
    "a doubled mark": re.compile(r"(?<!\.)\.\.(?!\.)|;;|::|,,|\.;|\.,|: ?[;,.](?!\w)"),
    "a sentence that breaks off": re.compile(r"(?:: ?$(?!\n+(?:- |\||\*\*))|[;,(] ?$)", re.MULTILINE),
    "a doubled space": re.compile(r"[^\s|]  [^\s|]"),
    "an epoch before the first": re.compile(r"\bepoch 0\b|epochs? 1 to 0\b"),
    "a large number without its comma": re.compile(r"(?<![\d,.\-/])\d{4,} (?:batches|steps|s|samples)\b"),
    "a word of the code": re.compile(r"(?<!when_clean: )\b(?:go_on|go_back|given_up|closed_with_run|handed_over)\b"),
    "a doubled word": re.compile(r"\b(the|is|of|a|to|was|and|not) \1\b"),
}


def faults_of(simulation: Played) -> list[str]:
    """What is wrong with what is said of a run: the rule and the words."""
    found = []
    for surface, text in said_of(simulation).items():
        for rule, pattern in UNTRUE.items():
            found += [f"{rule}, in {surface}: {_around(text, match)}" for match in pattern.finditer(text)]
    return [*dict.fromkeys(found), *_contradictions(simulation)]


def _around(text: str, match: re.Match[str]) -> str:
    return repr(text[max(match.start() - 60, 0) : match.end() + 40])


def _without_numbers(simulation: Played) -> Counter[str]:
    """Lines of the terminal that differ in their numbers alone; of bad batches and checkpoints there are many."""
    texts = [text for text in simulation.messages if "so far (" not in text and not text.startswith("checkpoint of")]
    return Counter(re.sub(r"\d[\d,.]*", "#", text) for text in texts)


def _contradictions(simulation: Played) -> list[str]:
    run, now_s = simulation.run, simulation.now_s
    training = shown_training(run)
    incident = shown_incident(run, training)
    summary = summary_of(run, training, incident, now_s)
    clean = any(line.verdict in (Verdict.CLEAN, Verdict.SUSPECT) for line in checkpoints_of(run))
    healthy = summary.now.startswith("Healthy")
    told = {
        "healthy, with a live incident": healthy and incident is not None and incident.live,
        "healthy, and it stands still": healthy and "stands still" in summary.now,
        "healthy, and no batch was seen": healthy and not simulation.batches_run,
        "no problem, and it was stopped": summary.happened.startswith("No problem")
        and "given up" in said_of(simulation),
        "go on from a state that is not there": "clean state: " in summary.to_do and not clean,
        "start from a checkpoint that is not there": "from a clean checkpoint" in summary.to_do and not clean,
        "it was rolled back, and was not": "was rolled back" in summary.done
        and incident is not None
        and incident.action.kind == ActionKind.ROLLBACK
        and incident.action.resumed_s is None,
        "the same line twice in a row": any(one == other for one, other in pairwise(simulation.messages)),
        "the same line again and again": max(_without_numbers(simulation).values(), default=0) > SAME_LINES,
    }
    alerts = [
        f"a cost that is not final, in the reason of {alert.title!r}"
        for alert in simulation.alerts
        if alert.kind == AlertKind.ROLLED_BACK and "to train again" in alert.text.partition("Reason: ")[2]
    ]
    hangs = [
        f"incident {each.number} stands still, and something else was found in it"
        for each in training.ledger.incidents
        if each.family == Family.HANG and any(finding.family == Family.NONFINITE for finding in each.findings[1:])
        and each.totals.rollbacks
    ]  # fmt: skip
    return [*(rule for rule, holds in told.items() if holds), *alerts, *hangs]


@pytest.mark.parametrize("name", HISTORIES)
def test_what_is_said_of_a_history_is_plain_and_agrees(name: str) -> None:
    assert faults_of(HISTORIES[name]()) == []


EPOCHS, BATCHES = 4, 40
POSITIONS = st.tuples(st.integers(1, 3), st.integers(1, EPOCHS), st.integers(0, BATCHES - 1))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.frozensets(POSITIONS, max_size=40),
    st.frozensets(st.integers(1, EPOCHS)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(WhenClean)),
    st.integers(1, EPOCHS * BATCHES * 2),
)
def test_what_is_said_of_any_mix_of_bad_batches_is_plain_and_agrees(
    bad: frozenset[tuple[int, int, int]],
    sound: frozenset[int],
    cured: bool,
    obey: bool,
    act: bool,
    when_clean: WhenClean,
    most: int,
) -> None:
    """Checkpoints sound or not, orders obeyed or refused, watched or acted on, over or looked at in the middle."""

    def fault(at: At) -> bool:
        return (at.generation, at.epoch, at.batch) in bad

    policy = Policy(when_clean=when_clean, rollback=Rollback(redo_limit_epochs=9.0), watch=Watch(batches_min=40))
    simulation = supervised(
        policy=policy, epochs=EPOCHS, batches_per_epoch=BATCHES, fault=fault, cured=cured, obey=obey, act=act,
        batches_max=most, verdict=lambda epoch: Verdict.SOUND if epoch in sound else Verdict.POISONED,
    )  # fmt: skip
    simulation.train()
    assert faults_of(simulation) == []
