"""What every thread of this process is doing, as text. Reads frames, never a source file or a variable's value.

A training may hang because a file system does: what looks at it must open no file. And what is shown travels to people
and into reports: names of functions and files belong there, the user's data does not.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import PurePath
from types import CodeType, FrameType

THREADS_MAX = 24  # a loader's and a library's pool together; those beyond are counted
FRAMES_MAX = 40  # of one thread, the innermost: a step of a deep model called through wrappers is about 60 deep
TEXT_CHARS_MAX = 3_000  # of one thread
NAME_CHARS_MAX = 120


def describe_threads(leave_out: frozenset[int] = frozenset()) -> tuple[str, ...]:
    """One text for each thread, the main thread first: its name, then `file:line function`, innermost last.

    `leave_out` are idents of threads that are not worth showing, such as the one that asks.
    """
    frames = {ident: frame for ident, frame in sys._current_frames().items() if ident not in leave_out}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    first = threading.main_thread().ident
    known = list(names)  # in the order they were started
    idents = sorted(frames, key=lambda i: (i != first, known.index(i) if i in names else len(known)))
    texts = [_describe(names.get(ident, "a thread of a library"), frames[ident]) for ident in idents[:THREADS_MAX]]
    beyond = len(idents) - THREADS_MAX
    return (*texts, f"and {beyond} more thread{'' if beyond == 1 else 's'}") if beyond > 0 else tuple(texts)


def shorten(path: str) -> str:
    """The path below the package folder or the working folder it lies in; of any other one its last three names."""
    for root in sorted({_here(), *sys.path}, key=len, reverse=True):
        if len(root) > 1 and path.startswith(root + os.sep):
            return path[len(root) + 1 :]
    return "/".join(PurePath(path).parts[-3:])


def _describe(name: str, frame: FrameType | None) -> str:
    lines: list[str] = []
    depth = 0
    while frame is not None:
        depth += 1
        if depth <= FRAMES_MAX:
            name_here = _name(frame.f_code).rpartition("<locals>.")[2]
            where = f"{shorten(frame.f_code.co_filename)[-NAME_CHARS_MAX:]}:{frame.f_lineno}"
            lines.append(f"  {where} {name_here[-NAME_CHARS_MAX:]}")
        frame = frame.f_back
    above = [f"  ... {depth - FRAMES_MAX} frames further out"] if depth > FRAMES_MAX else []
    text = "\n".join([*above, *reversed(lines)])
    return f"{name[:NAME_CHARS_MAX]}\n{text[-TEXT_CHARS_MAX:]}"


def _name(code: CodeType) -> str:
    """With its class in front from Python 3.11 on."""
    name: str = getattr(code, "co_qualname", code.co_name)
    return name


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is what is compared
    except OSError:  # it was deleted under the training
        return os.sep
