"""What keeps the supervisor from starting a training, or another generation of one."""

from __future__ import annotations

from monitor.errors import EXIT_CONFIG


class StartError(Exception):
    """One sentence for the user: where, value, rule, remedy. Nothing was started."""

    def __init__(self, text: str, code: int = EXIT_CONFIG) -> None:
        super().__init__(text)
        self.code = code


class NotResumed(Exception):
    """The run can't be resumed. One sentence for the user; nothing was started, and nothing of the run was changed."""


class Held(Exception):
    """The next generation can't be started safely. One sentence for the user; everything is kept as it is."""
