"""The silences that people set: the state keeps them, since they must outlive the daemon's process."""

from __future__ import annotations

from monitor.core.model import SilenceSet
from monitor.core.state.run import Fleet

SILENCES_MAX = 1000  # a forgotten script must not fill the state; the one that ends first leaves
KEPT_S = 4 * 86_400.0  # after its end, a day more than an alert may wait: the stages ask what began in it


def fold_silence(fleet: Fleet, given: SilenceSet) -> None:
    """Keep it; one with the same id is replaced."""
    fleet.silences[given.id] = given
    if len(fleet.silences) > SILENCES_MAX:
        first = min(fleet.silences.values(), key=lambda silence: (silence.until_s, silence.id))
        del fleet.silences[first.id]


def forget_silences(fleet: Fleet) -> None:
    """Those that ended long ago leave."""
    for id_, silence in list(fleet.silences.items()):
        if fleet.now_s - silence.until_s > KEPT_S:
            del fleet.silences[id_]
