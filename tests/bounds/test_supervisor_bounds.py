"""The limits of what the supervisor tries again."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.supervisor.decide import EARLY_ENDS_MAX, ExitContext, decide
from tests.harness.supervisor import plan_for
from trainer_hooks.wire.run_documents import Exit


@pytest.mark.parametrize(("early_ends", "relaunch"), [(EARLY_ENDS_MAX - 1, True), (EARLY_ENDS_MAX, False)])
def test_generations_that_end_soon_after_their_start_are_followed_by_so_many_others(
    early_ends: int, relaunch: bool
) -> None:
    over = Exit(number=early_ends, code=1, signal=None, ended_s=0.0)
    plan = plan_for(early_ends + 1, Path("train"), None)
    decision = decide(ExitContext(over, plan, early_ends=early_ends))
    assert decision.relaunch is relaunch
    assert relaunch or decision.how == "held"
    assert relaunch or decision.detail == f"{EARLY_ENDS_MAX} generations in a row ended soon after their start"
