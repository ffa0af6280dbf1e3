"""What faulthandler writes, in the form in which stacks are sent: hooks and monitor both read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

TEXT_CHARS_MAX = 2_000  # of one thread
_BLOCK = re.compile(r"\n(?=Thread 0x|Current thread 0x)")
_HEAD = re.compile(r"(?P<current>Current )?[Tt]hread 0x(?P<ident>[0-9a-f]+)")
_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')


class DumpedThread(NamedTuple):
    """One thread of a dump."""

    ident: int
    current: bool  # the one that got the signal
    frames: str  # `file:line function`, a line each, innermost last


def parse_dump(text: str, shorten: Callable[[str], str]) -> list[DumpedThread]:
    """The threads in the order they were written; lines of another form are left out."""
    found = []
    for block in _BLOCK.split(text.strip()):
        head, *lines = block.splitlines() or [""]
        if named := _HEAD.match(head):
            frames = [f"  {shorten(m['file'])}:{m['line']} {m['name']}" for line in lines if (m := _FRAME.match(line))]
            kept = "\n".join(reversed(frames))[-TEXT_CHARS_MAX:]
            found.append(DumpedThread(int(named["ident"], 16), bool(named["current"]), kept))
    return found
