"""The states of an incident, the events, and the state that follows each pair.

All rules about states live in this file.
"""

from __future__ import annotations

from monitor.core.model import IncidentState as S
from trainer_hooks.wire.enums import StrEnum


class IncidentEvent(StrEnum):
    """What can happen to an incident."""

    ACTED = "acted"  # the policy starts an action
    ONLY_WATCHED = "only watched"  # the policy may not act
    APPLIED = "applied"  # the action was carried out and read back
    FAILED = "failed"  # order refused or timed out, plan not written, relaunch failed; another action is left
    SPENT = "spent"  # as FAILED or AGAIN, and no action is left (no clean checkpoint, or the budget is gone)
    HEALED = "healed"  # healthy for the whole watch, and nothing was done
    PROVEN = "proven"  # healthy until the exposure was repaid, after an action
    AGAIN = "again"  # the same family once more; another action is left
    OPERATOR = "operator"  # a person takes over
    RUN_ENDED = "run ended"
    RUN_VANISHED = "run vanished"


class Impossible(Exception):
    """An event that can't occur in this state: a defect of the policy, with the reason from the table."""


H = IncidentEvent
_EVERY_LIVE: dict[IncidentEvent, S] = {H.OPERATOR: S.HANDED_OVER, H.RUN_ENDED: S.CLOSED, H.RUN_VANISHED: S.LOST}

TABLE: dict[S, dict[IncidentEvent, S | str]] = {
    S.OPEN: {
        H.ACTED: S.MITIGATING,
        H.ONLY_WATCHED: S.WATCHING,
        H.SPENT: S.GIVEN_UP,
        H.HEALED: S.RECOVERED,
        H.AGAIN: S.OPEN,  # more of the same while a checkpoint is still being examined
        H.FAILED: S.OPEN,  # the checkpoint it waited for is no good: the next one is examined
        H.APPLIED: "nothing was ordered yet",
        H.PROVEN: "nothing was done that could be proven",
        **_EVERY_LIVE,
    },
    S.MITIGATING: {
        H.APPLIED: S.WATCHING,
        H.FAILED: S.RELAPSED,
        H.SPENT: S.GIVEN_UP,
        H.AGAIN: S.MITIGATING,  # batches between the order and the boundary
        H.ACTED: "one action at a time",
        H.ONLY_WATCHED: "an action has begun",
        H.HEALED: "an action has begun",
        H.PROVEN: "the action has not been applied yet",
        **_EVERY_LIVE,
    },
    S.WATCHING: {
        H.HEALED: S.RECOVERED,
        H.PROVEN: S.RESOLVED,
        H.AGAIN: S.RELAPSED,
        H.SPENT: S.GIVEN_UP,
        H.ACTED: S.MITIGATING,  # a person asks for a rollback, or the policy may act now
        H.ONLY_WATCHED: S.WATCHING,
        H.APPLIED: S.WATCHING,  # the second reading back, at the ramp's end
        H.FAILED: "no action has begun",
        **_EVERY_LIVE,
    },
    S.RELAPSED: {
        H.ACTED: S.MITIGATING,
        H.ONLY_WATCHED: S.WATCHING,
        H.SPENT: S.GIVEN_UP,
        H.AGAIN: S.RELAPSED,  # cool-down, or a checkpoint is still being examined
        H.FAILED: S.RELAPSED,
        H.HEALED: S.RECOVERED,
        H.PROVEN: S.RESOLVED,  # it came back during the cool-down, and left again
        H.APPLIED: "nothing was ordered yet",
        **_EVERY_LIVE,
    },
    **{
        over: dict.fromkeys(H, "it is over")
        for over in (S.RESOLVED, S.RECOVERED, S.GIVEN_UP, S.HANDED_OVER, S.CLOSED, S.LOST)
    },
}  # fmt: skip


def after(state: S, incident_event: IncidentEvent) -> S:
    """The state that follows. Raises Impossible where the table gives a reason instead."""
    found = TABLE[state][incident_event]
    if isinstance(found, S):
        return found
    raise Impossible(f"an incident that is {state} cannot take '{incident_event}': {found}")
