"""The numbers of the decision table, as people write them in a policy file: every key with its default and its reason.

The defaults were played in a simulation of trainings with one to three faults, and then through this core: see
tests/properties/test_never_worse.py. No I/O.
"""

from __future__ import annotations

from pydantic import Field, PositiveInt

from monitor.core.model.section import Section
from trainer_hooks.wire.enums import StrEnum


class WhenClean(StrEnum):
    """Policy.when_clean: what is done where batches are not finite, and the state behind them is clean."""

    ADJUST = "adjust"
    ROLLBACK = "rollback"
    STOP = "stop"
    GO_ON = "go_on"


class DecisionTable(Section):
    """When which action is taken; the rows are in docs/decisions.md."""

    first_bad: PositiveInt = Field(
        8,
        le=64,
        description="A training whose first batches, this many, are all not finite is stopped: nothing that it could "
        "go back to was better. Eight in a row by chance are one in 100 million where a tenth of all batches is bad. "
        "As many in a row later on count as a damaged state.",
    )
    adjust_after: PositiveInt = Field(
        8,
        le=1000,
        description="With a clean state the settings are adjusted after this many non-finite batches. Fewer do not "
        "show how often they come, and a sample that causes them could not be named.",
    )
    skip_ok: float = Field(
        0.05,
        gt=0,
        le=1,
        description="A clean training goes on as it is while at most this share of its batches, from 0 to 1, is "
        "skipped. One step in twenty costs less than going back.",
    )
    early_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Non-finite batches that began within this first share of the training, from 0 to 1, are skipped "
        "and reported only. There was no better state before them.",
    )
    end_share: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Where going back redoes more than what is left, a damaged training ends with its clean "
        "checkpoint if that holds at least this share of all steps, from 0 to 1. The last 5 % seldom change a model.",
    )
    recover_wait_batches: int = Field(
        100,
        ge=0,
        description="A loss that is too high on finite weights has this many batches to come back by itself. Three "
        "times as long as the known spikes that healed: BLOOM's took 30 batches.",
    )
    act_on_stopped: bool = Field(
        False,
        description="With true a training whose process was stopped from outside (SIGSTOP, a debugger, Slurm's "
        "suspend) is treated like one that hangs, and started again; with false it is reported and left alone. The "
        "default is false because whoever stopped it may want to continue it.",
    )
    hang_tries: PositiveInt = Field(
        3,
        le=100,
        description="A training that stands still is started again this many times, the last time with your own "
        "settings. After the third the cause is not one that a new start cures.",
    )
