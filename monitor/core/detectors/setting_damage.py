"""A setting jumped for no known reason, and the loss has not come back since."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import SETTING_JUMPED
from monitor.core.state.projection import batches_to_end
from monitor.core.state.setting_jumps import SHORT_WAIT, is_worse_than_at_first, wait_of
from monitor.core.state.view import RunView

AGAIN = 50  # batches, after which it is reported again


class SettingDamageConfig(DetectorConfig):
    """A setting jumped for no known reason, and the loss stays far above the level it had before."""

    act: bool = Field(
        True,
        description="With true such a loss opens an incident; with false it only warns. The default is true because "
        "both must come together: a jump that nothing explains, and a loss that does not come back.",
    )
    wait_batches: int = Field(
        100,
        ge=SHORT_WAIT,
        le=1000,
        description="So many batches the loss has to come back, once the setting is back. A short training waits for a "
        "tenth of what is left, and at least 32 batches: BLOOM's spike was gone after 30.",
    )


@register(
    "setting_damage", SettingDamageConfig, Family.LOSS, Moment.BATCH, at_most=Severity.CRITICAL, needs=SETTING_JUMPED
)
def setting_damage(run: RunView, config: SettingDamageConfig) -> Finding | None:
    """Dated to the jump. The loss must be away from its level for the whole wait, without a break.

    Where the setting has stayed at its new value somebody may have meant it: then the loss must be worse than at the
    start of the training too, and the full wait counts. Blind to a jump in the first 64 batches.
    """
    jump, loss = run.learned.jump, run.signal("loss")
    if jump is None or loss is None or jump.at.generation != run.at.generation:
        return None
    wait = wait_of(jump, batches_to_end(run.training), run.at.count, config.wait_batches)
    if jump.calm or jump.off < wait or (jump.off - wait) % AGAIN:
        return None
    if not jump.back and not is_worse_than_at_first(run.learned, jump):
        return None
    now, before = loss.unscaled(loss.fast), loss.unscaled(jump.level)
    what = f"{jump.name} changed from {jump.old} for no known reason"
    since = f" and came back {batches(run.at.count - jump.back + 1)} ago" if jump.back else ""
    return run.finding(
        Severity.CRITICAL if config.act else Severity.WARNING,
        since=jump.at,
        signal="loss",
        value=now,
        limit=loss.unscaled(jump.level + jump.margin),
        summary=f"{what}{since}; the loss is {now:.4g}, it was {before:.4g} before, and it has not come back",
    )
