"""What is known of the GPUs and was counted of them, from the probe's lines. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from monitor.daemon.hardware.reading import DEVICES_MAX, XIDS_KEPT, Device, Gpu, Vendor, Visible, checked, chosen

# Those that a program's own mistake causes: NVIDIA's list of XID errors, "user application error".
_OF_THE_PROGRAM = frozenset({13, 31, 43, 45, 68, 109})


class Gpus:
    """One entry a place, for ever: what was counted stays when a device falls off the bus."""

    def __init__(self, vendor: Vendor = Vendor.NVIDIA) -> None:
        self._reader = vendor.reader
        self._known: dict[int, Gpu] = {}

    def take(self, devices: Iterable[Device]) -> list[str]:
        """Replace what is known, and return the sentences that a person should read. They may repeat."""
        news: list[str] = []
        listed: set[int] = set()
        for device in devices:
            if not 0 <= device.index < DEVICES_MAX or device.index in listed:
                news.append(f"{self._reader} lists a GPU {device.index} that can't be; it is left out")
                continue
            listed.add(device.index)
            news += self._take_one(device)
        for index in self._known.keys() - listed:
            self._blank(index)
            news.append(f"GPU {index} is no longer listed by {self._reader}")
        return news

    def blank(self) -> None:
        """Nothing is known of the present; what was counted stays."""
        for index in self._known:
            self._blank(index)

    def of(self, visible: Collection[Visible]) -> tuple[Gpu, ...]:
        """Those that a training may use, by index."""
        wanted = chosen([gpu.device for gpu in self._known.values()], visible)
        return tuple(gpu for index, gpu in sorted(self._known.items()) if index in wanted)

    def _take_one(self, reported: Device) -> list[str]:
        device, refused = checked(reported)
        before = self._known.get(device.index, Gpu(device))
        xids = dict(before.xids)
        for xid in device.xids:
            if xid in xids or len(xids) < XIDS_KEPT:
                xids[xid] = xids.get(xid, 0) + 1
        self._known[device.index] = Gpu(device, before.refused + len(refused), xids)
        name = f"GPU {device.index}"
        news = [f"{name}: {_xid(xid)}" for xid in dict.fromkeys(device.xids)]
        news += [
            f"{name}: {self._reader} says {one.partition(' ')[0]} beyond what can be; it is not shown"
            for one in refused
        ]
        if device.trouble:
            news.append(f"{name}: {self._reader} says {device.trouble!r}")
        return news

    def _blank(self, index: int) -> None:
        gpu = self._known[index]
        device = Device(index=index, uuid=gpu.device.uuid, name=gpu.device.name)
        self._known[index] = msgspec.structs.replace(gpu, device=device, listed=False)


def _xid(number: int) -> str:
    if number in _OF_THE_PROGRAM:
        return f"the driver reports XID {number}, which a program's own fault can cause"
    return f"the driver reports XID {number}: see NVIDIA's list of XID errors for what to do with the device"
