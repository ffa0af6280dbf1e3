"""What `trainwarden run` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.shim.announcer import PORT
from monitor.shim.descendants import Rungs


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Checked by the caller; the shim believes it."""

    argv: tuple[str, ...]  # the training's command; not used with `adopt`
    policy_text: str  # YAML, checked by the caller
    title: str = ""
    run: str | None = None  # None: an id is made
    act: bool = True
    deadline_s: float | None = None  # Unix time
    adopt: bool = False  # take over `run`, whose shim is dead, or go on with it
    port: int = PORT
    quiet: bool = False  # only warnings and worse
    rungs: Rungs = field(default_factory=Rungs)
    daemon_argv: tuple[str, ...] = ()  # how to start a daemon; empty: this installation's
