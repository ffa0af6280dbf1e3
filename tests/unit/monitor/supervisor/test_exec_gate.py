from __future__ import annotations

from monitor.errors import EXIT_HELD
from monitor.supervisor.exec_gate import NOT_STARTED


def test_a_command_that_was_not_started_ends_with_the_exit_code_of_a_held_run() -> None:
    """exec_gate.py runs as a file of its own and imports nothing of ours, so the number stands there again."""
    assert NOT_STARTED == EXIT_HELD
