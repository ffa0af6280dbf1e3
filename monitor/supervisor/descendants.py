"""All processes that a training has started, and how they are made to leave. Reads /proc, sends signals, waits.

torchrun puts its ranks into sessions of their own and loader workers outlive their trainer, so neither the process
group nor the tree of parents is enough: a process with the nonce of the launch in its environment belongs to it too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from monitor.supervisor.process import PROC, Handle, Stat, environment, read_stat, same_user
from trainer_hooks.wire.runfolder import ENV_NONCE

ROUND_S = 0.1


@dataclass(frozen=True, slots=True)
class KillTimeouts:
    """How long each step of ending the processes may take, in seconds."""

    leave_s: float = 30.0  # after a request to end was passed on; Kubernetes and torchrun wait as long
    orphans_s: float = 5.0  # for workers whose trainer has ended already
    term_s: float = 15.0
    kill_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Cleared:
    """How the processes were ended."""

    escalation: str  # "", "SIGTERM" or "SIGKILL"
    survivors: tuple[Stat, ...]  # processes that not even SIGKILL ended


class Descendants:
    """The processes of one launch."""

    def __init__(self, root: Handle | None, nonce: str, adopting: bool, ours: Callable[[], Collection[int]]) -> None:
        """`root`: its first process; None: that is gone.

        `adopting`: orphans of the launch become our children. `ours`: our children that do not belong to it.
        """
        self._root = root
        self._nonce = nonce
        self._adopting = adopting
        self._ours = ours

    def members(self) -> list[Stat]:
        """All that live now, including the training's first process."""
        stats = {stat.pid: stat for stat in _every_process()}
        ours = set(self._ours())
        adopter = os.getpid()
        root_gone = self._root is None or self._root.gone  # asked after /proc was read: the pid was its own
        roots = {self._root.pid} if self._root is not None and not root_gone else set()
        if self._adopting:
            roots |= {s.pid for s in stats.values() if s.parent == adopter and s.pid not in ours}
        roots |= {pid for pid in stats if pid != adopter and pid not in ours and self._carries_nonce(pid)}
        found = _with_children(roots, stats.values()) - ours - {adopter}
        return [stats[pid] for pid in sorted(found) if pid in stats and not stats[pid].gone and same_user(pid)]

    def _carries_nonce(self, pid: int) -> bool:
        return same_user(pid) and environment(pid).get(ENV_NONCE) == self._nonce

    def hold(self, member: Stat, members: Collection[int]) -> Handle | None:
        """A handle of the member; None where its pid belongs to another process by now."""
        parents = {*members, os.getpid()} if self._adopting else set(members)

        def proof(pid: int) -> bool:
            now = read_stat(pid)
            if now is None or now.start_ticks != member.start_ticks:
                return False
            is_root = self._root is not None and pid == self._root.pid and not self._root.gone
            return is_root or now.parent in parents or self._carries_nonce(pid)

        return Handle.take(member.pid, proof)


def clear(
    descendants: Descendants, kill_timeouts: KillTimeouts, patience_s: float, between: Callable[[], None]
) -> Cleared:
    """Wait `patience_s` for all to leave, then send SIGTERM, then SIGKILL. `between` is called in each round.

    A process that appears meanwhile gets the signal of the present step. SIGCONT comes before SIGTERM, since a stopped
    process would not act on it. `between` must reap.
    """
    steps: tuple[tuple[str, float, tuple[int, ...]], ...] = (
        ("", patience_s, ()),
        ("SIGTERM", kill_timeouts.term_s, (signal.SIGCONT, signal.SIGTERM)),
        ("SIGKILL", kill_timeouts.kill_s, (signal.SIGKILL,)),
    )
    escalation = ""
    for step, seconds, numbers in steps:
        deadline_s = time.monotonic() + seconds
        signalled: set[tuple[int, int]] = set()
        between()
        while members := descendants.members():
            if time.monotonic() >= deadline_s:
                break
            if step:
                escalation = step
                _signal(descendants, members, numbers, signalled)
            time.sleep(ROUND_S)
            between()
        if not members:
            return Cleared(escalation, ())
    return Cleared(escalation, tuple(descendants.members()))


def _signal(
    descendants: Descendants, members: list[Stat], numbers: tuple[int, ...], signalled: set[tuple[int, int]]
) -> None:
    """Signal each member once in a step: on a second SIGTERM many programs give up their orderly end."""
    pids = {member.pid for member in members}
    for member in members:
        name = (member.pid, member.start_ticks)
        if name not in signalled and (handle := descendants.hold(member, pids)):
            signalled.add(name)
            for number in numbers:
                handle.send(number)
            handle.close()


def _every_process() -> Iterable[Stat]:
    for entry in os.scandir(PROC):
        if entry.name.isdecimal() and (stat := read_stat(int(entry.name))):
            yield stat


def _with_children(roots: set[int], stats: Collection[Stat]) -> set[int]:
    """The roots and all that descends from them."""
    children: dict[int, list[int]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found
