"""What keeps the supervisor from starting a training, or another generation of one."""

from __future__ import annotations

from monitor.errors import EXIT_CONFIG


class StartError(Exception):
    """One sentence for the user: where, value, rule, remedy. Nothing was started."""

    def __init__(self, text: str, code: int = EXIT_CONFIG) -> None:
        super().__init__(text)
        self.code = code


class Held(Exception):
    """The next generation can't be started safely. One sentence for the user; everything is kept as it is."""
