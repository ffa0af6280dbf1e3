from __future__ import annotations

import re

import pytest

from monitor.core.state.stacks import TakenStacks
from monitor.report import render
from tests.harness.night import NOW_S, night
from trainer_hooks.wire.messages import StacksSeen

HOSTILE = "x\n# Owned | `rm` <img src=x onerror=alert(1)> [a](javascript:1) www.evil.example \u202e\x1b[31m"


def taken(rank: int, *threads: str, how: str = "hook", at_s: float = NOW_S - 60.0) -> TakenStacks:
    return TakenStacks(at_s, 1, rank, 7550, "epoch 4, batch 7550", StacksSeen(0.0, "o1", "train", 31.0, how, threads))


def told(*stacks: TakenStacks, family: str = "hang") -> str:
    run, incident = night()
    incident.family, incident.opened_s = family, NOW_S - 50.0
    run.stacks.taken += stacks
    return render(run, incident, NOW_S)


def test_the_rank_that_stands_elsewhere_comes_first_and_the_others_together() -> None:
    waits = "MainThread\n  train.py:9 main\n  torch/distributed/c10d.py:3 all_reduce"
    text = told(taken(0, waits), taken(1, "MainThread\n  train.py:5 read_the_archive"), taken(2, waits))
    section = text.split("## Where training stood still")[1]
    assert section.index("read_the_archive") < section.index("all_reduce")
    assert "**Rank 1**, in phase train; read by its own hook" in section
    assert "**Rank 0, 2**" in section


def test_who_looked_from_outside_is_said() -> None:
    assert "read by faulthandler, /proc" in told(taken(0, "MainThread\n  a.py:1 f", how="faulthandler, /proc"))


@pytest.mark.parametrize("place", ["thread", "frame", "how"])
def test_no_name_in_a_stack_is_markup(place: str) -> None:
    threads = (f"{HOSTILE}\n  a.py:1 f",) if place == "thread" else (f"MainThread\n  {HOSTILE}:1 f",)
    text = told(taken(0, *threads, how=HOSTILE if place == "how" else "hook"))
    section = text.split("## Where training stood still")[1].split("\n## ")[0]
    assert "<img" not in section
    assert "](javascript" not in re.sub(r"\\.", "", section)
    assert "\n# Owned" not in section
    assert "\x1b" not in section


def test_a_report_of_something_else_does_not_tell_of_stacks() -> None:
    assert "stood still" not in told(taken(0, "MainThread\n  a.py:1 f"), family="nonfinite")


def test_stacks_of_another_hour_are_not_told_in_this_incident() -> None:
    assert "stood still" not in told(taken(0, "MainThread\n  a.py:1 f", at_s=NOW_S - 7200.0))


def test_deep_stacks_and_many_threads_are_cut() -> None:
    deep = "MainThread\n" + "\n".join(f"  a.py:{n} f{n}" for n in range(100))
    text = told(taken(0, deep, *(f"thread {n}\n  b.py:1 g" for n in range(30))))
    assert "84 outer calls" in text
    assert "and 23 more threads" in text
    assert "f99" in text
