"""No batch comes any more."""

from __future__ import annotations

from monitor.detectors import Moment, register
from monitor.model import Finding, Severity
from monitor.policy.settings import Hang
from monitor.state.run import RunState
from monitor.state.view import RunView

TICKS_MIN = 3  # without a record: a daemon that was asleep sees one tick before the records that wait for it
LOOP_PHASES = ("train", "idle")  # a trainer that declares no phases is "idle" while it trains


@register("hang", Moment.TICK)
def hang(run: RunView, config: Hang) -> Finding | None:
    """Nothing for longer than `intervals` times the longest wait in this phase, and never sooner than `floor_s`.

    A phase that was never seen to end (the first batch with its compilation, the first validation) gets `unknown_s`.
    """
    state = run.run_state
    if state is None or state.idle_ticks < TICKS_MIN or state.pending_order is not None:
        return None
    since_s = max(_last_s(run, state), state.phase_since_s)
    waited = run.now_s - since_s
    if not since_s or waited < config.floor_s:
        return None
    longest = state.longest_s.get("train" if state.phase in LOOP_PHASES else state.phase)
    limit = config.unknown_s if longest is None else max(config.floor_s, config.intervals * longest)
    if waited < limit:
        return None
    return run.finding(
        "hang",
        "hang",
        Severity.CRITICAL if config.act else Severity.WARNING,
        since=run.at,
        signal="batch_s",
        value=waited,
        limit=limit,
        summary=f"nothing for {waited:.0f} s while the trainer is in phase {state.phase!r} (the rule: {limit:.0f} s)",
    )


def _last_s(run: RunView, state: RunState) -> float:
    rank = state.ranks.get(run.rank)
    return rank.last_batch_s or 0.0 if rank else 0.0
