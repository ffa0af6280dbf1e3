"""The closed sets of words in messages and in the documents of the run folder. Values only.

The fields that carry these are `str` and not the enums: a word that a newer peer adds must not make the whole message
unreadable. Code compares a field with a member here, never with a text of its own; a member is equal to its text.
"""

from __future__ import annotations

from trainer_hooks.wire.enums import StrEnum


class OrderKind(StrEnum):
    """Order.kind."""

    STOP = "stop"  # leave the loop at a batch boundary
    ADJUST = "adjust"  # apply the plan in place
    GO_BACK = "go_back"  # go back to the plan's state within the process
    STACKS = "stacks"  # say what every thread does


class OrderOutcome(StrEnum):
    """OrderApplied.outcome and Receipt.outcome."""

    APPLIED = "applied"
    REFUSED = "refused"  # nothing was changed
    DECLINED = "declined"  # nothing was changed: the training had recovered by itself, so it was not needed any more
    HEALED = "healed"  # the weights were finite and stay: only what was not finite beside them was put back
    FAILED = "failed"  # it was tried, and raised
    KILLED = "killed"  # by the supervisor: the training did not leave in time
    EXITED = "exited"  # the training ended before it carried it out


NOT_NEEDED = (OrderOutcome.DECLINED, OrderOutcome.HEALED)  # the training goes on, and loses nothing
NOT_DONE = (OrderOutcome.REFUSED, OrderOutcome.FAILED, *NOT_NEEDED)  # it did not go back


class PlanKind(StrEnum):
    """Plan.kind."""

    ROLLBACK = "rollback"  # the next generation starts from it
    ADJUST = "adjust"  # the present one applies it in place


class ReadBack(StrEnum):
    """PlanApplied.when: at which moment the settings of a plan were read back."""

    FIRST_STEP = "first step"
    RAMP_END = "ramp end"


class Phase(StrEnum):
    """PhaseChanged.phase: what the trainer is busy with."""

    TRAIN = "train"
    VALIDATE = "validate"
    SAVE = "save"
    IDLE = "idle"  # nothing, or it declares no phases


class TrainingEnd(StrEnum):
    """TrainingEnded.how: how a training ended in its process."""

    FINISHED = "finished"
    ORDER = "order"  # it carried out an order to stop
    EXCEPTION = "exception"
    INTERRUPTED = "interrupted"  # Ctrl-C
    EXITED = "exited"  # its process ended in an orderly way, and the script had not said that the training was over
    VANISHED = "vanished"  # its process is gone and reported nothing; only the daemon says so


GUARD_STEP = "guard step"  # HookTrouble.hook of the one that skips the step of a bad batch
OUT_OF_MEMORY = (
    "out of memory"  # SettingChanged.reason: smaller batches after an error; also in the messages of CUDA, HIP
)
