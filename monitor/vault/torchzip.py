"""The zip archive torch.save writes: entries bounded, checked against their CRC and handed out as views. No copy.

torch.load itself checks no CRC (its zip reader is built without), so a flipped bit loads there in silence.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from monitor.vault.inert import UnreadableError

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7: signature ... name length, extra length
_END = struct.Struct("<4s4H2IH")  # 4.3.16: signature, disks, entries on this one and in all, size, offset, comment
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_FOLDER = 0x10  # of the attributes of MS-DOS
_CRC_CHUNK_BYTES = 16 * 1024 * 1024
ENTRIES_MAX = 500_000  # one per storage; a 70 B model with its optimizer has some 3,000


def read_entries(file: BinaryIO, data: memoryview) -> Mapping[str, memoryview]:
    """The stored bytes of each entry, by its name without the archive's own folder ("data.pkl", "data/0", ...).

    Raises UnreadableError for anything but a whole archive as torch.save writes it: compressed, encrypted or
    overlapping entries, two of one name, a damaged header, a CRC that differs.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
        raise UnreadableError(f"no whole zip archive, the file is cut off or damaged: {error}") from error
    if not infos or len(infos) > ENTRIES_MAX:
        raise UnreadableError(f"the archive has {len(infos)} entries, expected 1 to {ENTRIES_MAX}")
    end = data[-_END.size :]  # without a comment: torch writes none
    if bytes(end[:4]) == b"PK\x05\x06" and _END.unpack(end)[4] != min(len(infos), 0xFFFF):
        raise UnreadableError("the archive's directory has another number of entries than its end says")
    if any(info.filename.endswith("/constants.pkl") for info in infos):  # before its compressed code is refused
        raise UnreadableError(
            "a TorchScript archive, which holds code: not read here. Verify the checkpoint that it was exported from"
        )
    entries = {_short_name(info.filename): view for info, view in _checked_views(infos, data)}
    if len({name.casefold() for name in entries}) != len(infos):  # torch looks entries up without regard to case
        raise UnreadableError("the archive has two entries of one name: which one counts depends on the reader")
    return entries


def _short_name(name: str) -> str:
    folder, separator, rest = name.partition("/")
    if not separator and name.endswith(".npy"):
        raise UnreadableError("a numpy archive (.npz), not a checkpoint of torch: not read here")
    if not separator or not folder or not rest:
        raise UnreadableError(f"the archive holds {name[:80]!r}, where torch.save puts every entry into one folder")
    return rest


def _checked_views(infos: list[zipfile.ZipInfo], data: memoryview) -> list[tuple[zipfile.ZipInfo, memoryview]]:
    """Each entry with its bytes, in the order of the file."""
    folders = {info.filename.partition("/")[0] for info in infos}
    if len(folders) != 1:
        raise UnreadableError(f"the archive has {len(folders)} top folders, torch.save writes one")
    views = []
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise UnreadableError(f"entry {info.filename[:80]!r} of the archive overlaps the one before")
        view, end = _view(info, data)
        views.append((info, view))
    return views


def _view(info: zipfile.ZipInfo, data: memoryview) -> tuple[memoryview, int]:
    """The bytes of one entry, and where they end in the file."""
    where = f"entry {info.filename[:80]!r} of the archive"
    if info.flag_bits & _ENCRYPTED:
        raise UnreadableError(f"{where} is encrypted")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise UnreadableError(f"{where} is compressed, torch.save stores its entries as they are")
    if info.external_attr & _FOLDER or info.volume:  # torch takes a folder for an entry without bytes
        raise UnreadableError(f"{where} is marked as a folder, or as one of another volume: its header is damaged")
    header = data[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size:
        raise UnreadableError(f"{where} lies outside the file")
    fields = _LOCAL_HEADER.unpack(header)
    name_at = info.header_offset + _LOCAL_HEADER.size
    start = name_at + fields[-2] + fields[-1]
    name = bytes(data[name_at : name_at + fields[-2]])
    if fields[0] != b"PK\x03\x04" or name != info.orig_filename.encode():
        raise UnreadableError(f"{where} has a damaged header")
    end = start + info.file_size
    if end > len(data):
        raise UnreadableError(f"{where} lies outside the file")
    view = data[start:end]
    if _crc(view) != info.CRC:
        raise UnreadableError(f"{where} does not match its CRC: the file was damaged after it was written")
    return view, end


def _crc(view: memoryview) -> int:
    crc = 0
    for start in range(0, len(view), _CRC_CHUNK_BYTES):
        crc = zlib.crc32(view[start : start + _CRC_CHUNK_BYTES], crc)
    return crc
