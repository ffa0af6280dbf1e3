"""Says within seconds that a script under `trainwarden run` trains and nothing watches it. A thread; it hooks nothing.

It looks at the stacks now and then, and never at the values in them: no function of torch is wrapped or hooked for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from trainer_hooks.crash import is_installed
from trainer_hooks.wire.runfolder import ENV_GENERATION, ENV_RUN_FOLDER, RunFolder

LOOK_S = 0.05  # a step is a small share of a batch; ten looks at it are a matter of seconds
LOOK_LATER_S = 1.0  # after the first minutes: a script that loads data for long, or a server that never trains
OFTEN_S = 300.0
SURE_S = 2.0  # from the first step that is seen: `watch` may come after a few steps of warming up
SEEN_MIN = 2
FRAMES_MAX = 200
OPTIMIZERS = os.path.join("torch", "optim", "")
CURE = (
    "It attaches by itself to Ultralytics. In any other loop: `from trainer_hooks.integrations.plain import watch`, "
    "`loop = watch(model, optimizer)` before it, `loop.batch(loss)` after each batch, `loop.end()` after it "
    "(docs/loops.md)"
)


def attach(_module: ModuleType) -> None:
    """torch.optim was imported: look for steps until a training is watched, or it was said that none is."""
    folder, generation = os.environ.get(ENV_RUN_FOLDER, ""), os.environ.get(ENV_GENERATION, "")
    if folder and generation.isdecimal():
        arguments = (RunFolder(Path(folder)), int(generation))
        threading.Thread(target=_look_quietly, args=arguments, name="trainwarden-unwatched", daemon=True).start()


def _look_quietly(folder: RunFolder, generation: int) -> None:
    with contextlib.suppress(Exception):  # a traceback of this thread would be taken for one of the training
        _look(folder, generation)


def _look(folder: RunFolder, generation: int) -> None:
    began_s, first_s, seen = time.monotonic(), 0.0, 0
    while not _watched():
        now_s = time.monotonic()
        if where := _step_of(threading.get_ident()):
            seen += 1
            first_s = first_s or now_s
            if seen >= SEEN_MIN and now_s - first_s >= SURE_S:
                _notify(folder, generation, where)
                return
        time.sleep(LOOK_S if seen or now_s - began_s < OFTEN_S else LOOK_LATER_S)


def _watched() -> bool:
    """True once this process has had a training that is watched."""
    probe: Any = sys.modules.get("trainer_hooks.probe")
    watches = getattr(probe, "watches_process", None)  # None: it is being imported right now
    return watches is not None and bool(watches())


def _step_of(own: int) -> str:
    """Where in the user's code an optimizer takes a step right now, as "file:line"; empty: none does."""
    for thread, frame in sys._current_frames().items():
        if thread != own and (where := _caller(frame)):
            return where
    return ""


def _caller(frame: FrameType | None) -> str:
    steps = False
    for _ in range(FRAMES_MAX):
        if frame is None:
            return ""
        file = frame.f_code.co_filename
        if OPTIMIZERS in file:
            steps |= frame.f_code.co_name in ("step", "wrapper")
        elif steps and not is_installed(file):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _notify(folder: RunFolder, generation: int, where: str) -> None:
    """Once for all processes of a generation, and not where one of them is watched."""
    if any(number == generation for _, number, _ in folder.claimed()):
        return
    try:
        path = folder.root / f"unwatched-{generation}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        text = f"trainwarden: this script trains ({where}), and nothing watches it. {CURE}.\n"
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        return  # another process has said it, or nobody can be reached
