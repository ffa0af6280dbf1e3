"""The plan that a hand-written loop must start from, and the end of a process that can't follow it. Reads a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from trainer_hooks.integrations.plain.framework import FRAMEWORK
from trainer_hooks.recorder.probe_like import WhereItRuns
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.exit_codes import EXIT_HELD
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.runfolder import ENV_PLAN


def plan_for(place: WhereItRuns) -> Plan | None:
    """None: there is none, or it is another training's, or begins at a checkpoint, which the script itself reads.

    Exits with 75 where it can't be read.
    """
    path = os.environ.get(ENV_PLAN)
    if not path:
        return None
    try:
        plan = read(Path(path), Plan)
    except RunFolderError as error:
        refuse_to_start(f"{error}; put the plan back, or start without it by unsetting {ENV_PLAN}")
    ours = (plan.framework, plan.training, plan.ordinal) == (FRAMEWORK.name, place.training, place.ordinal)
    return plan if ours and plan.snapshot is not None else None


def refuse_to_start(reason: str) -> NoReturn:
    """Starting anyway would train over what the plan was meant to save."""
    print(f"trainwarden: not started: {reason}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_HELD)
