"""What inputs and effects speak of. Values only."""

from __future__ import annotations

import msgspec

from trainer_hooks.wire.enums import StrEnum


class Severity(StrEnum):
    """How bad, for people and for the policy."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Family(StrEnum):
    """What a finding is about. Critical findings of one family make one incident."""

    NONFINITE = "nonfinite"
    LOSS = "loss"
    GRADIENT = "gradient"
    LOSS_SCALE = "loss_scale"
    UPDATE = "update"
    VALIDATION = "validation"
    SETTINGS = "settings"
    CHECKPOINT = "checkpoint"
    HANG = "hang"
    CRASH = "crash"  # of no detector: the process of the training ended, and nobody had asked for that
    SPEED = "speed"
    RANK = "rank"
    DEADLINE = "deadline"
    MEMORY = "memory"
    DISK = "disk"
    GPU = "gpu"
    OPERATOR = "operator"  # of no finding: a person asked for a rollback

    @property
    def in_numbers(self) -> bool:
        """True: the numbers that are trained are wrong, so the same batches and settings may bring the same again."""
        return self not in (Family.HANG, Family.CRASH, Family.MEMORY, Family.DISK, Family.GPU)


class Verdict(StrEnum):
    """What may be believed of a checkpoint. `sound` is what the verifier says of its bytes; the rest is the vault's."""

    WAITING = "waiting"  # not examined yet
    SOUND = "sound"  # bytes match the digest and every number in it is as it should be
    CLEAN = "clean"  # sound, saved before every known anomaly, and followed by healthy batches
    SUSPECT = "suspect"  # sound, but saved after the onset of an anomaly, or nothing healthy followed yet
    POISONED = "poisoned"
    UNVERIFIED = "unverified"  # could not be read in full: never clean


class EpochStatus(StrEnum):
    """What became of one pass through an epoch."""

    RUNNING = "running"
    ENDED = "ended"  # trained and validated
    LEFT = "left"  # its generation ended within it
    DISCARDED = "discarded"  # it lies after the checkpoint that a rollback went back to
    REDONE = "redone"  # the framework's own recovery threw it away, or it began anew


class AlertKind(StrEnum):
    """What people are alerted about."""

    INCIDENT_OPENED = "incident_opened"
    ESCALATED = "escalated"  # the trouble came back after an action
    ADJUSTED = "adjusted"
    ROLLED_BACK = "rolled_back"
    SETTINGS_DIFFER = "settings_differ"  # a setting read back is not the plan's
    LOSSES_DIFFER = "losses_differ"  # the first losses after a return are not those that were recorded
    GOES_ON = "goes_on"  # the state is clean, and nothing more is done
    RESOLVED = "resolved"
    GIVEN_UP = "given_up"
    CLOSED = "closed"  # the training or the run ended with the incident open
    RUN_FAILED = "run_failed"  # the training ended by itself, and not because it was done
    SUPERVISOR_LOST = "supervisor_lost"
    UNWATCHED = "unwatched"  # a hook was switched off: a part of the watch is missing
    WATCH = "watch"  # a finding that opens no incident
    STACKS = "stacks"  # where a training stands still
    REMINDER = "reminder"  # an incident is still open, and nobody acknowledged it
    MILESTONE = "milestone"
    FINISHED = "finished"
    DAILY_SUMMARY = "daily_summary"
    TEST = "test"  # a person tries a receiver


class Position(msgspec.Struct, frozen=True, gc=False):
    """A batch of a run."""

    generation: int
    epoch: int  # from 1
    batch: int  # within the epoch, from 0
    count: int  # batches since the generation began, this one included


class Finding(msgspec.Struct, frozen=True):
    """What a detector saw, with the evidence for it."""

    detector: str
    family: str  # a Family, or the word of an earlier version
    severity: Severity
    rank: int
    at: Position
    since: Position  # onset: the first bad batch, dated back
    signal: str  # "loss", "gradient", "buffer", ...
    value: float  # what was measured, in the unit `summary` names
    limit: float  # what it was held against
    summary: str  # one sentence


class Shift(msgspec.Struct, frozen=True):
    """One thing that was different after the onset."""

    name: str  # "grad_norm", "instances_max", "learning_rate/bias", "setting/mosaic", "version/torch"
    before: str
    after: str
    effect: float  # the shift of the median in spreads (1.48 x MAD), or `delta` x SHARP where there was no spread
    delta: float  # Cliff's delta: share of pairs that are higher after, less the share that are lower; -1 to 1
    text: str  # one sentence


class Cause(msgspec.Struct, frozen=True):
    """One family of causes, weighed."""

    family: str  # "learning_rate", "bad_input", ...
    title: str
    score: float  # weights of the evidence for it, less those of the evidence against it
    speaks_for: tuple[str, ...]  # sentences
    speaks_against: tuple[str, ...]
    test: str  # the one test that would settle it


class Diagnosis(msgspec.Struct, frozen=True):
    """What changed, since when, and what the evidence says of the cause."""

    at: Position  # the batch it was made at
    onset: Position  # the first abnormal batch, dated back
    onset_text: str  # how it was dated, in a sentence
    verdict: str  # family of the cause; empty: not enough evidence
    text: str  # the verdict in a sentence
    causes: tuple[Cause, ...]  # those with evidence for them, the likeliest first
    shifts: tuple[Shift, ...]  # the largest first
    notes: tuple[str, ...]  # whether the rates followed their plan, where in warm-up it lies
    revision: int = 0  # times it was made anew since the incident opened
    memory: str = ""  # what drove memory, in a sentence; empty: it did not rise, or nothing is known
