"""What holds for every test."""

from __future__ import annotations

import signal

HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL}


def pytest_configure() -> None:
    """A shell that runs the suite in the background has it ignore both, and every training it starts would too."""
    for number, handler in HANDLERS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
