"""Scripts with several trainings."""

from __future__ import annotations

from monitor.core.model import (
    GenerationExited,
    RunEnded,
    TrainingVanished,
)
from tests.harness.histories.pieces import history
from tests.harness.script import Script
from trainer_hooks.wire.run_documents import Exit, RunOutcome


class Scripted(Script):
    """A script of several trainings, seen as a simulation is."""

    @property
    def now_s(self) -> float:
        return self.driver.now_s

    @property
    def messages(self) -> list[str]:
        return self.said.splitlines()

    @property
    def batches_run(self) -> int:
        return sum(counts.batches for counts in self.counts.values())


def ended(script: Scripted, how: str = "finished") -> Scripted:
    """The script's process and its run are over."""
    over = Exit(number=script.driver.generation, code=0, signal=None, ended_s=script.now_s)
    script.take(script.driver.feed(GenerationExited(script.driver.run, over, relaunch=False)))
    script.take(script.driver.feed(RunEnded(script.driver.run, RunOutcome(how), "")))
    return script


@history
def two_folds() -> Scripted:
    script = Scripted()
    for number in (1, 2):
        script.start(number, ordinal=number)
        script.batches(number, 60)
        script.saved(number, 1)
        script.end(number)
    return ended(script)


@history
def between_two_folds() -> Scripted:
    script = Scripted()
    script.start(1)
    script.batches(1, 60)
    script.end(1)
    return script


@history
def a_fold_is_bad_and_the_next_is_good() -> Scripted:
    script = Scripted()
    script.start(1)
    script.batches(1, 60)
    script.batches(1, 4, bad=True)
    script.end(1)
    script.start(2, ordinal=2)
    script.batches(2, 40)
    return script


@history
def the_second_fold_is_bad() -> Scripted:
    script = Scripted()
    script.start(1)
    script.batches(1, 60)
    script.saved(1, 1)
    script.end(1)
    script.start(2)
    script.batches(2, 60)
    script.saved(2, 1)
    script.batches(2, 20)
    script.batches(2, 12, damaged=True)
    return script


@history
def one_of_two_at_once_is_bad() -> Scripted:
    script = Scripted()
    script.start(1)
    script.start(2)
    for _ in range(30):
        script.batches(1, 2)
        script.batches(2, 2)
    script.saved(1, 1)
    script.batches(1, 12, damaged=True)
    return script


@history
def a_fold_vanishes() -> Scripted:
    script = Scripted()
    script.start(1)
    script.batches(1, 60)
    script.take(script.driver.feed(TrainingVanished(script.driver.run, 1, 1, 1001)))
    script.start(2, ordinal=2)
    script.batches(2, 1)
    return script
