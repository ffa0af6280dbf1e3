"""What `trainwarden run` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.client.port import DEFAULT_PORT
from monitor.supervisor.descendants import KillTimeouts


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The caller has checked them."""

    argv: tuple[str, ...]  # the training's command; not used with `adopt`
    policy_text: str  # YAML, checked by the caller
    title: str = ""
    run: str | None = None  # None: an id is made
    act: bool = True
    snapshot_s: float = 0.0  # seconds between two snapshots within an epoch; 0: none are taken
    deadline_s: float | None = None  # Unix time
    adopt: bool = False  # take over `run`, whose supervisor is dead, or continue it after its end
    resume_by: str = ""  # the person who resumes `run` from its newest clean state; empty: it is not resumed
    anew: bool = False  # with `resume_by`: where there is no such state, start the command from its beginning
    port: int = DEFAULT_PORT
    quiet: bool = False  # only warnings and worse
    kill_timeouts: KillTimeouts = field(default_factory=KillTimeouts)
    daemon_argv: tuple[str, ...] = ()  # the command that starts a daemon; empty: this installation's
