"""An action of the decision table, and what it is chosen from. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.model import ActionKind, Incident
from monitor.core.policy.settings import Policy
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RunState, TrainingState
from trainer_hooks.wire.enums import StrEnum


class StartWith(StrEnum):
    """The settings that a new start or an adjustment has."""

    STRENGTHENED = "strengthened"
    AS_BEFORE = "as before"  # those in force before the incident
    YOUR_OWN = "your own"  # those before every incident


@dataclass(frozen=True, slots=True)
class Action:
    """What to do next. `checkpoint`: what to go back to (ROLLBACK), or what is still to be examined (EXAMINE)."""

    kind: ActionKind
    reason: str
    checkpoint: CheckpointState | None = None
    start_with: StartWith = StartWith.STRENGTHENED
    cost: str = ""  # of going back, as it is now: until the order comes, more batches are trained
    for_nonfinite: bool = False  # what it goes back for may be over before the order comes; see Plan.for_nonfinite


@dataclass(frozen=True, slots=True)
class Trouble:
    """A training with a live incident."""

    run: RunState
    training: TrainingState
    incident: Incident
    policy: Policy
    found: bool = True  # a critical finding is the occasion; False: some batches have passed since the last decision
