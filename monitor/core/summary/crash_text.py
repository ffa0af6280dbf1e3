"""What is known of the cause where the process of a training died, in a sentence or two. Pure."""

from __future__ import annotations

from monitor.core.model import Incident, Severity
from trainer_hooks.wire.words import OUT_OF_MEMORY

OF_SIGNAL = {
    "SIGKILL": "Not known. SIGKILL comes from the kernel where the machine's memory ran out (see dmesg), or from a "
    "person or a job scheduler.",
    "SIGSEGV": "A fault in compiled code: a driver, CUDA or a library.",
    "SIGBUS": "A fault in compiled code, or a disk or /dev/shm without space.",
    "SIGABRT": "A fault in compiled code that ended itself: a driver, CUDA or a library.",
}


def is_out_of_memory(incident: Incident) -> bool:
    """True where the memory of a GPU was full."""
    return any(finding.signal == OUT_OF_MEMORY for finding in incident.findings)


def cause_of_crash(incident: Incident) -> str:
    """The cause of a crash as far as its kind tells it."""
    finding = incident.findings[0] if incident.findings else None
    if finding is None or finding.severity is Severity.INFO:
        return ""  # a person resumes the run
    if is_out_of_memory(incident):
        return "One batch did not fit into the memory of the GPU: the batch size is too large for it."
    if finding.signal in OF_SIGNAL:
        return OF_SIGNAL[finding.signal]
    return "The exception says it; the lines that the training printed last say more."


def crash_in_brief(incident: Incident, exception: str) -> str:
    """What happened without the message of the exception: the training crashed after epoch 3, batch 4 (ValueError)."""
    finding = incident.findings[0]
    brief = finding.summary.removesuffix(f": {exception}") if exception else finding.summary
    return brief if brief == finding.summary else f"{brief} ({finding.signal})"
