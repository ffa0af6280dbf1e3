"""What the end of a generation means: the one place that decides it, for the supervisor and the core. Pure."""

from __future__ import annotations

from trainer_hooks.wire.run_documents import Exit, GenerationOutcome, RunOutcome

SHELL_SIGNAL = 128  # a shell reports a signal of its command as this exit code and the signal's number
SIGNALS = {  # of Linux, those that end a process; see signal(7)
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}  # fmt: skip
SIGNAL_LAST = 64
OF_A_CRASH = ("SIGKILL", "SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
FAILURES = (GenerationOutcome.FAILED, GenerationOutcome.KILLED, GenerationOutcome.UNKNOWN)  # people get an alert


RUN_OUTCOMES = {
    GenerationOutcome.FINISHED: RunOutcome.FINISHED,
    GenerationOutcome.STOPPED: RunOutcome.STOPPED,
    GenerationOutcome.INTERRUPTED: RunOutcome.STOPPED,
    GenerationOutcome.KILLED: RunOutcome.FAILED,
    GenerationOutcome.FAILED: RunOutcome.FAILED,
    GenerationOutcome.UNKNOWN: RunOutcome.FAILED,
}  # of a run whose last generation ended so
OUTCOME_TEXT = {
    GenerationOutcome.FINISHED: "has finished",
    GenerationOutcome.STOPPED: "was stopped by an order",
    GenerationOutcome.INTERRUPTED: "was interrupted",
    GenerationOutcome.KILLED: "was killed",
    GenerationOutcome.FAILED: "has failed",
    GenerationOutcome.UNKNOWN: "has ended",
}


def outcome_of(
    over: Exit, *, order_obeyed: bool = False, made_to_leave: bool = False, training_finished: bool = False
) -> GenerationOutcome:
    """The outcome of a generation.

    over: what is known of its first process. An outcome that its supervisor has decided stands.
    order_obeyed: a receipt says that an order to stop or to go back was applied.
    made_to_leave: the supervisor had to end its first process by signals.
    training_finished: the training itself said that it had finished. Only the core knows this, so it asks again: a
        process that crashes after that, at its exit, has failed at nothing.
    """
    outcome = over.outcome or _from_process(over, order_obeyed, made_to_leave)
    return GenerationOutcome.FINISHED if training_finished and outcome in FAILURES else outcome


def _from_process(over: Exit, order_obeyed: bool, made_to_leave: bool) -> GenerationOutcome:
    """First match wins."""
    if over.asked:
        return GenerationOutcome.INTERRUPTED
    if order_obeyed:
        return GenerationOutcome.STOPPED
    if made_to_leave:
        return GenerationOutcome.KILLED  # also with exit code 0: a trainer that handles SIGTERM well leaves with it
    if over.code is None and over.signal is None:
        return GenerationOutcome.UNKNOWN
    return GenerationOutcome.FINISHED if over.code == 0 else GenerationOutcome.FAILED


def signal_of(over: Exit) -> int | None:
    """The signal that ended it, also where a shell that started it reports it as an exit code; None: it was none."""
    if over.signal is None and over.code is not None and SHELL_SIGNAL < over.code <= SHELL_SIGNAL + SIGNAL_LAST:
        return over.code - SHELL_SIGNAL
    return over.signal


def may_be_a_crash(over: Exit) -> bool:
    """True where a process ended as in a crash: an error's exit code, a signal that no person sends, or not known."""
    number = signal_of(over)
    return over.code != 0 if number is None else signal_name(number) in OF_A_CRASH


def ending(over: Exit) -> str:
    """How its first process ended, in words."""
    if over.signal is not None:
        return f"ended by {signal_name(over.signal)}"
    return "exit code unknown" if over.code is None else f"exit code {over.code}"


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal has only a number."""
    return SIGNALS.get(number, f"signal {number}")
