"""The driver reports an error of the device."""

from __future__ import annotations

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import plural
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.hardware import GpuState
from monitor.core.state.view import RunView

# What a program's own mistake causes: NVIDIA's list of XID errors, "user application error".
OF_THE_PROGRAM = frozenset({13, 31, 43, 45, 68, 109})
NAMES = {
    31: "a page fault", 43: "the GPU stopped processing", 48: "a double-bit ECC error", 63: "a row was remapped",
    64: "a row could not be remapped", 74: "an NVLink error", 79: "the GPU has fallen off the bus",
    94: "a contained ECC error", 95: "an uncontained ECC error", 119: "the GPU's own processor timed out",
}  # fmt: skip


class GpuErrorsConfig(DetectorConfig):
    """The driver reports an error of the GPU: an XID, an ECC error, remapped rows, a lost device, or it hangs."""


@register("gpu_errors", GpuErrorsConfig, Family.GPU, Moment.HARDWARE, at_most=Severity.WARNING)
def gpu_errors(run: RunView, config: GpuErrorsConfig) -> Finding | None:
    """What the last reading has over the one before: XIDs, uncorrectable ECC errors, rows remapped, a device gone.

    It warns, also of a driver that stopped answering; it informs where the program itself can have caused the XID, and
    where the GPUs can't be read. The first reading of a run is what it started with, and no news.
    """
    hardware = run.hardware
    found = [(index, text) for index, gpu in sorted(hardware.gpus.items()) for text in _news(gpu, run.now_s)]
    if not found and hardware.new_hang:
        return _finding(run, Severity.WARNING, 0, f"the GPU's driver hangs: {hardware.nvml}")
    if not found and hardware.new_nvml and not hardware.driver_hangs:
        return _finding(run, Severity.INFO, 0, f"the GPUs can't be watched: {hardware.nvml}")
    if not found:
        return None
    own = all(_only_of_the_program(hardware.gpus[index]) for index, _ in found)
    severity = Severity.INFO if own else Severity.WARNING
    return _finding(run, severity, found[0][0], "; ".join(f"GPU {index}: {text}" for index, text in found))


def _finding(run: RunView, severity: Severity, index: int, summary: str) -> Finding:
    return run.finding(severity, since=run.at, signal="gpu", value=float(index), limit=0.0, summary=summary)


def _news(gpu: GpuState, now_s: float) -> list[str]:
    if gpu.gone_since_s is not None:
        return ["the driver does not list it any more"] if gpu.gone_since_s == now_s else []
    found = [f"XID {number}{_named(number)}" for number in gpu.new_xids]
    if gpu.new_ecc:
        found.append(f"{plural(gpu.new_ecc, 'more uncorrectable ECC error')} (in all {gpu.last.ecc_uncorrected})")
    if gpu.new_rows:
        found.append(f"{plural(gpu.new_rows, 'more row')} remapped for an uncorrectable error")
    if gpu.last.rows_failed and not gpu.first.rows_failed:
        found.append("a row could not be remapped: replace the device")
    if gpu.new_trouble:
        found.append(f"the driver says {gpu.new_trouble!r}")
    return found


def _named(number: int) -> str:
    name = NAMES.get(number, "")
    own = ", which a program's own fault can cause" if number in OF_THE_PROGRAM else ""
    return f" ({name}{own})" if name else own


def _only_of_the_program(gpu: GpuState) -> bool:
    if gpu.gone_since_s is not None or gpu.new_ecc or gpu.new_rows or gpu.last.rows_failed or gpu.new_trouble:
        return False
    return bool(gpu.new_xids) and OF_THE_PROGRAM.issuperset(gpu.new_xids)
