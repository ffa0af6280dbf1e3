"""What stops the supervisor before a training is started, or keeps it from starting another."""

from __future__ import annotations

from monitor.errors import EXIT_CONFIG
from trainer_hooks.wire.exit_codes import EXIT_HELD

CONFIG = EXIT_CONFIG  # nothing was started, correct the command
HELD = EXIT_HELD  # the run is held, a person has to look


class StartError(Exception):
    """One sentence for the user: where, value, rule, remedy."""

    def __init__(self, text: str, code: int = CONFIG) -> None:
        super().__init__(text)
        self.code = code


class Held(Exception):
    """The next generation can't be started safely; everything is kept as it is."""
