"""The allocator had to empty its cache and try again."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import plural
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import MEMORY, RETRIED
from monitor.core.state.view import RunView


class AllocRetriesConfig(DetectorConfig):
    """The CUDA allocator emptied its cache and tried again several times: GPU memory is as good as full."""

    count: PositiveInt = Field(
        3,
        description="This many retries within window_batches make a finding. One retry happens where a longer batch "
        "comes; three show that memory is full, and each one makes the whole device wait.",
    )
    window_batches: int = Field(
        500,
        ge=1,
        description="Retries are counted over this many batches. Retries that lie further apart than 500 batches cost "
        "too little time to report.",
    )


@register(
    "alloc_retries", AllocRetriesConfig, Family.MEMORY, Moment.BATCH, at_most=Severity.WARNING, needs=MEMORY | RETRIED
)
def alloc_retries(run: RunView, config: AllocRetriesConfig) -> Finding | None:
    """`count` retries within `window_batches`, dated to the first of them. The next step may be out of memory.

    Each retry frees the cache and waits for the device, so batches get slower too. A single retry is no finding: it
    comes with the longest batch so far.
    """
    retries, now = run.learned.allocator.retries, run.at.count
    if not retries or retries[-1] != now:
        return None
    recent = [count for count in retries if count > now - config.window_batches]
    if len(recent) < config.count:
        return None
    return run.finding(
        Severity.WARNING, since=run.before(now - recent[0]), signal="alloc_retries",
        value=float(len(recent)), limit=float(config.count),
        summary=f"GPU memory is as good as full: the allocator emptied its cache and tried again "
        f"{plural(len(recent), 'time')} within {plural(now - recent[0] + 1, 'batch')}",
    )  # fmt: skip
