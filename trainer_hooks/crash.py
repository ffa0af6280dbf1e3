"""What ended a training by an exception: its type, its message and the last line of the user's own. No values."""

from __future__ import annotations

import functools
import linecache
import os
import sysconfig
from pathlib import Path
from types import TracebackType

MESSAGE_CHARS_MAX = 400  # an assertion of a device or a loader's worker may carry a whole traceback
LINE_CHARS_MAX = 120
INSTALLED = ("site-packages", "dist-packages")  # by their names: a venv may be reached by several paths


def describe_exception(error: BaseException) -> str:
    """`IndexError: index 7 is out of bounds, at train.py:31 in step: x = names[7]`. Never raises."""
    return f"{type(error).__name__}{_message(error)}{_own_line(error.__traceback__)}"


def _message(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the user's own __str__
        return " (its message can't be read)"
    short = text if len(text) <= MESSAGE_CHARS_MAX else f"{text[:MESSAGE_CHARS_MAX]}..."
    return f": {short}" if short else ""


def _own_line(trace: TracebackType | None) -> str:
    """Where it was last in code that is neither Python's own nor installed nor ours; else where it was raised."""
    own = last = None
    above = trace.tb_frame.f_back if trace is not None else None
    while trace is not None:
        last = (trace.tb_frame.f_code, trace.tb_lineno)
        if not is_installed(last[0].co_filename):
            own = last
        trace = trace.tb_next
    while own is None and above is not None:  # who called what raised: a hook may have caught it on its way there
        if not is_installed(above.f_code.co_filename):
            own = (above.f_code, above.f_lineno)
        above = above.f_back
    if (found := own or last) is None:
        return ""
    code, number = found
    line = linecache.getline(code.co_filename, number).strip()[:LINE_CHARS_MAX]
    return f", at {code.co_filename}:{number} in {code.co_name}{f': {line}' if line else ''}"


def is_installed(file: str) -> bool:
    """True where the code is not the user's own: Python's, installed, or ours."""
    return file.startswith(_python()) or any(f"{os.sep}{name}{os.sep}" in file for name in INSTALLED)


@functools.cache
def _python() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return (paths["stdlib"], paths["platstdlib"], str(Path(__file__).parent), "<frozen ")
