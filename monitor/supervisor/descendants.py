"""Everything a training has started, and the ladder that makes it leave. Reads /proc, sends signals, waits.

torchrun puts its ranks into sessions of their own and loader workers outlive their trainer, so neither a process group
nor the tree of parents is enough: whatever carries the nonce of the launch in its environment belongs to it too.
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
    """How long each step of the ladder may take, in seconds."""

    leave_s: float = 30.0  # after a signal from outside was passed on; Kubernetes and torchrun give as much
    orphans_s: float = 5.0  # for workers whose trainer has left already
    term_s: float = 15.0
    kill_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Cleared:
    """What it took until everything was gone."""

    escalation: str  # "", "SIGTERM" or "SIGKILL"
    survivors: tuple[Stat, ...]  # what not even SIGKILL ended


class Family:
    """The processes of one launch."""

    def __init__(self, root: Handle, nonce: str, adopting: bool, ours: Callable[[], Collection[int]]) -> None:
        """`adopting`: orphans of the launch become our children. `ours`: our children that are not of the launch."""
        self._root = root
        self._nonce = nonce
        self._adopting = adopting
        self._ours = ours

    def members(self) -> list[Stat]:
        """All that live now, the training itself included."""
        stats = {stat.pid: stat for stat in _every_process()}
        ours = set(self._ours())
        adopter = os.getpid()
        roots = set() if self._root.gone else {self._root.pid}  # asked after the look: the pid was its own all along
        if self._adopting:
            roots |= {s.pid for s in stats.values() if s.parent == adopter and s.pid not in ours}
        roots |= {pid for pid in stats if pid != adopter and pid not in ours and self._carries_nonce(pid)}
        found = _with_children(roots, stats.values()) - ours - {adopter}
        return [stats[pid] for pid in sorted(found) if pid in stats and not stats[pid].gone and same_user(pid)]

    def _carries_nonce(self, pid: int) -> bool:
        return same_user(pid) and environment(pid).get(ENV_NONCE) == self._nonce

    def hold(self, member: Stat, members: Collection[int]) -> Handle | None:
        """The member, held; None where its pid names another process by now."""
        parents = {*members, os.getpid()} if self._adopting else set(members)

        def proof(pid: int) -> bool:
            now = read_stat(pid)
            if now is None or now.start_ticks != member.start_ticks:
                return False
            is_root = pid == self._root.pid and not self._root.gone
            return is_root or now.parent in parents or self._carries_nonce(pid)

        return Handle.take(member.pid, proof)


def clear(family: Family, kill_timeouts: KillTimeouts, patience_s: float, between: Callable[[], None]) -> Cleared:
    """Wait `patience_s` for all to leave, then SIGTERM, then SIGKILL. `between` is called in each round: it must reap.

    A process that appears on the way gets the signal of the step it appears on; SIGTERM comes after SIGCONT, since a
    stopped process would keep it for later.
    """
    ladder: tuple[tuple[str, float, tuple[int, ...]], ...] = (
        ("", patience_s, ()),
        ("SIGTERM", kill_timeouts.term_s, (signal.SIGCONT, signal.SIGTERM)),
        ("SIGKILL", kill_timeouts.kill_s, (signal.SIGKILL,)),
    )
    escalation = ""
    for step, seconds, numbers in ladder:
        deadline_s = time.monotonic() + seconds
        told: set[tuple[int, int]] = set()
        between()
        while members := family.members():
            if time.monotonic() >= deadline_s:
                break
            if step:
                escalation = step
                _tell(family, members, numbers, told)
            time.sleep(ROUND_S)
            between()
        if not members:
            return Cleared(escalation, ())
    return Cleared(escalation, tuple(family.members()))


def _tell(family: Family, members: list[Stat], numbers: tuple[int, ...], told: set[tuple[int, int]]) -> None:
    """Signal each member once a step: a second SIGTERM makes many programs give up their orderly end."""
    pids = {member.pid for member in members}
    for member in members:
        name = (member.pid, member.start_ticks)
        if name not in told and (handle := family.hold(member, pids)):
            told.add(name)
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
