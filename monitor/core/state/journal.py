"""What a daemon journaled of one run: enough to run it through a core again. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model import Entry, RunOpened
from monitor.core.state.run import Fleet


class Journal(msgspec.Struct, frozen=True):
    """The inputs of one run, as they were."""

    path: str  # of the history
    run: str
    entries: list[Entry]
    fleet: Fleet  # the state before the first of them: empty, or the run where the journal's beginning is gone
    truncated: str = ""  # what is missing; empty: nothing is

    @property
    def policy(self) -> str:
        """The policy that the run was under, as JSON."""
        opened = next((e.input.policy for e in self.entries if isinstance(e.input, RunOpened)), None)
        return opened if opened is not None else self.fleet.runs[self.run].policy
