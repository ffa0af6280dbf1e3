"""Faults, one file for each family of the taxonomy. FAULTS is all of them, in the order of the table."""

from __future__ import annotations

from tests.bench.detection.families import (
    checkpoint,
    data,
    hang,
    hardware,
    memory,
    numerical,
    optimizer,
    program,
    telemetry,
    throughput,
)
from tests.bench.detection.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *numerical.FAULTS,
    *optimizer.FAULTS,
    *data.FAULTS,
    *program.FAULTS,
    *memory.FAULTS,
    *throughput.FAULTS,
    *hang.FAULTS,
    *hardware.FAULTS,
    *checkpoint.FAULTS,
    *telemetry.FAULTS,
)
