"""Reads NVML. Only the probe child imports this: the library may hang, crash or lie. An edge file."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pynvml

from monitor.daemon.hardware.reading import DEVICES_MAX, Device, ProbeLine

EVENTS_MAX = 500  # taken in one period: a storm of them, or a library that always has one, costs no more

T = TypeVar("T")

_ABSENT = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
_USUAL = (  # what an older driver or a simpler card answers
    pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_NO_DATA, pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
)  # fmt: skip


def lines(period_s: float) -> Iterator[ProbeLine]:
    """A line at once and then every `period_s`, for ever; one and no more where NVML can't be used."""
    try:
        pynvml.nvmlInit()
        events = _Events(_handles())
        xids: dict[int, list[int]] = {}
        while True:
            devices = [_device(i, handle, xids.get(i, [])) for i, handle in enumerate(_handles())]
            yield ProbeLine(devices=tuple(devices))
            xids = events.wait(period_s)
    except pynvml.NVMLError as error:
        yield ProbeLine(absent=str(error)) if error.value in _ABSENT else ProbeLine(error=str(error))


def _handles() -> list[Any]:
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(min(pynvml.nvmlDeviceGetCount(), DEVICES_MAX))]


class _Asking:
    """Asks one device; what it does not report is None, and the first error that is not usual is kept."""

    def __init__(self, handle: Any) -> None:
        self._handle, self.trouble = handle, ""

    def __call__(self, ask: Callable[..., T], *args: object) -> T | None:
        try:
            return ask(self._handle, *args)
        except pynvml.NVMLError as error:
            if error.value not in _USUAL:
                self.trouble = self.trouble or str(error)
        except UnicodeDecodeError:
            self.trouble = self.trouble or "text that is none"
        return None


def _device(index: int, handle: Any, xids: list[int]) -> Device:
    ask = _Asking(handle)
    memory, rates = ask(pynvml.nvmlDeviceGetMemoryInfo), ask(pynvml.nvmlDeviceGetUtilizationRates)
    rows = ask(pynvml.nvmlDeviceGetRemappedRows)
    bits = ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons)
    if bits is None:  # drivers before 535 know the same call by its older name alone
        bits = ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    corrected, uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    lifelong = pynvml.NVML_AGGREGATE_ECC
    return Device(
        index=index,
        uuid=ask(pynvml.nvmlDeviceGetUUID) or "",
        name=ask(pynvml.nvmlDeviceGetName) or "",
        utilization_percent=rates.gpu if rates else None,
        memory_used_bytes=memory.used if memory else None,
        memory_total_bytes=memory.total if memory else None,
        temperature_celsius=ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
        power_milliwatts=ask(pynvml.nvmlDeviceGetPowerUsage),
        throttle_bits=bits,
        ecc_corrected=ask(pynvml.nvmlDeviceGetTotalEccErrors, corrected, lifelong),
        ecc_uncorrected=ask(pynvml.nvmlDeviceGetTotalEccErrors, uncorrected, lifelong),
        rows_correctable=rows[0] if rows else None,
        rows_uncorrectable=rows[1] if rows else None,
        rows_failed=bool(rows[3]) if rows else None,
        slowdown_celsius=ask(pynvml.nvmlDeviceGetTemperatureThreshold, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        power_limit_milliwatts=ask(pynvml.nvmlDeviceGetEnforcedPowerLimit),
        fan_percent=ask(pynvml.nvmlDeviceGetFanSpeed),
        xids=tuple(xids),
        trouble=ask.trouble,
    )


class _Events:
    """XID errors, as the driver raises them: none is missed between two lines."""

    def __init__(self, handles: list[Any]) -> None:
        self._indexes: dict[int | None, int] = {}
        try:
            self._set = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            return
        for index, handle in enumerate(handles):
            if self._register(handle):
                self._indexes[_address(handle)] = index

    def _register(self, handle: Any) -> bool:
        try:
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
        except pynvml.NVMLError:
            return False
        return True

    def wait(self, period_s: float) -> dict[int, list[int]]:
        """The XIDs of the next `period_s`, by device. One whose device is not known counts for every device."""
        found: dict[int, list[int]] = {}
        until_s = time.monotonic() + period_s
        for _ in range(EVENTS_MAX):
            event = self._next(until_s - time.monotonic())
            if event is None:
                break
            index = self._indexes.get(_address(event.device))
            for one in self._indexes.values() if index is None else (index,):
                found.setdefault(one, []).append(event.eventData)
        time.sleep(max(until_s - time.monotonic(), 0.0))
        return found

    def _next(self, within_s: float) -> Any:
        """An event, or None: none came, or none can be waited for."""
        if not self._indexes or within_s <= 0:
            return None
        try:
            return pynvml.nvmlEventSetWait(self._set, max(int(within_s * 1000), 1))
        except pynvml.NVMLError:
            return None


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
