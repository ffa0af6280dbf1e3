"""Has the stacks of a hung training taken, and reports where each rank stands. Pure.

Each rank is asked over its own socket, which a thread of the hook answers. A rank that doesn't answer within LOOK_S has
its interpreter held by a call that never returns (or its process is stopped): then the supervisor, where there is
one, reads them from outside. An incident about a hang, and with it everything that ends the process, waits for
the answers, and no longer than WAIT_S.
"""

from __future__ import annotations

import sys

import msgspec

from monitor.core.format import batch_at, plural
from monitor.core.model import (
    AlertKind,
    Family,
    Finding,
    LookAtTraining,
    RaiseAlert,
    SendOrder,
    Severity,
    StacksTaken,
)
from monitor.core.policy import texts
from monitor.core.policy.planning import order_for
from monitor.core.policy.transaction import Transaction
from monitor.core.state.stacks import Standstill, TakenStacks
from trainer_hooks.wire.messages import StacksSeen
from trainer_hooks.wire.words import OrderKind

STREAKS_MAX = 10  # of a run: more of them would say nothing new
RANKS_MAX = 64  # asked in one streak, and the rest is counted; collectives make the others wait in the same place
AGAIN_S = 1.0
LOOK_S = 5.0  # a hook answers within 50 ms, on a machine under load within a second
LOOKS_APART_S = 10.0  # between the first look, at the warning, and the next ones, when something is to be done
LOOKS_MAX = 6  # of one standstill: where it moves each time, it does not stand still
WAIT_S = 25.0  # for a look from outside: py-spy has 10 s, and each part after it some seconds
TAKEN_MAX = 64  # stacks of one training that are kept: with the two limits below 1 MB of state at the very most
THREADS_KEPT = 8
TEXT_CHARS_KEPT = 2_000  # of one thread, its innermost frames
STOOD_CHARS_MAX = 200
WORKER = "worker process "  # begins the text of a loader's worker
STOOD_FRAMES = 3  # of the main thread, beside its last one, in one line for people


def acted_on(tx: Transaction, findings: list[Finding]) -> list[Finding]:
    """Have stacks taken where a training hangs; the critical findings that may open an incident by now."""
    hung = next((f for f in findings if f.family == Family.HANG), None)
    if hung is not None:
        _ask(tx, hung)
    critical = [f for f in findings if f.severity is Severity.CRITICAL]
    if hung in critical and not (_stands_in_the_same_place(tx) and _may_end(tx)):
        critical.remove(hung)
    return critical


def _may_end(tx: Transaction) -> bool:
    """False for a training that somebody has stopped, and may want to continue: that is no hang."""
    streak = tx.ledger.stacks.streak
    return streak is None or not streak.stopped or tx.policy.table.act_on_stopped


def _stands_in_the_same_place(tx: Transaction) -> bool:
    """True where two looks saw the main thread of every rank in the same place.

    A long step that goes on is somewhere else. Where no look showed anything nobody knows, and nothing is done.
    """
    streak = tx.ledger.stacks.streak
    if streak is None or streak.waiting:
        return False
    if streak.looks > 1 and streak.places and len(streak.still) == len(streak.places):
        return True
    if streak.looks < LOOKS_MAX and tx.now_s - streak.began_s >= LOOKS_APART_S:
        streak.looks, streak.looked = streak.looks + 1, False
        _send(tx, streak, "a second look shows whether it stands in the same place")
    return False


def _ask(tx: Transaction, finding: Finding) -> None:
    """Once for each standstill, of every rank."""
    stacks = tx.ledger.stacks
    count = finding.at.count
    known = stacks.streak
    if known is not None and (known.generation, known.count) == (tx.training.generation, count):
        return
    if stacks.spent >= STREAKS_MAX:
        return
    stacks.spent += 1
    streak = stacks.streak = Standstill(tx.training.generation, count, tx.now_s)
    streak.unasked = len(tx.training.ranks) - RANKS_MAX if len(tx.training.ranks) > RANKS_MAX else 0
    _send(tx, streak, finding.summary)


def _send(tx: Transaction, streak: Standstill, reason: str) -> None:
    """Ask every rank now, up to RANKS_MAX."""
    ranks = sorted(tx.training.ranks)[:RANKS_MAX]
    streak.waiting = {rank: order_for(tx, OrderKind.STACKS, reason, rank) for rank in ranks}
    streak.began_s = streak.sent_s = tx.now_s
    tx.effects.extend(SendOrder(order.id, order) for order in streak.waiting.values())


def on_tick(tx: Transaction) -> None:
    """Ask again, have the stacks read from outside, or continue without an answer."""
    run, streak = tx.run, tx.ledger.stacks.streak
    if streak is None or not streak.waiting:
        return
    waited_s = tx.now_s - streak.began_s
    if streak.generation != tx.training.generation or not run.alive or waited_s > WAIT_S:
        streak.waiting = {}
        _report(tx, streak)
        return
    if tx.now_s - streak.sent_s >= AGAIN_S:
        streak.sent_s = tx.now_s
        tx.effects.extend(SendOrder(order.id, order) for order in streak.waiting.values())
    if waited_s >= LOOK_S and not streak.looked:
        streak.looked = True
        for rank, order in streak.waiting.items():
            tx.effects.append(
                LookAtTraining(tx.effect_id(), run.spec.run, tx.training.generation, rank, order.id, tx.training.number)
            )


def on_taken(tx: Transaction, taken: StacksTaken) -> None:
    """The stacks of a rank were read from outside."""
    for training in tx.run.trainings.values():
        if taken.generation == training.generation:
            on_stacks(tx.of(training), taken.rank, taken.seen)


def on_stacks(tx: Transaction, rank: int, seen: StacksSeen) -> None:
    """The stacks of a rank arrived; those that were not asked for are ignored."""
    streak = tx.ledger.stacks.streak
    if streak is None or streak.generation != tx.training.generation:
        return
    order = streak.waiting.get(rank)
    if order is None or order.id != seen.order_id:
        return
    del streak.waiting[rank]
    _compare(streak, rank, seen)
    at = tx.training.position
    where = batch_at(at.epoch, at.batch) if at else "before the first batch"
    tx.ledger.stacks.taken.append(TakenStacks(tx.now_s, tx.training.generation, rank, streak.count, where, _kept(seen)))
    tx.ledger.stacks.dropped += len(tx.ledger.stacks.taken[:-TAKEN_MAX])
    del tx.ledger.stacks.taken[:-TAKEN_MAX]
    if not streak.waiting:
        _report(tx, streak)


def _compare(streak: Standstill, rank: int, seen: StacksSeen) -> None:
    """Whether the rank's main thread stands where it stood at the look before."""
    if rank in streak.stopped:
        streak.stopped.remove(rank)
    if seen.stopped:
        streak.stopped.append(rank)
    if not seen.threads:
        return
    place = _cut(seen.threads[0])
    if rank in streak.still:
        streak.still.remove(rank)
    if streak.places.get(rank) == place:
        streak.still.append(rank)
    streak.places[rank] = place


def _kept(seen: StacksSeen) -> StacksSeen:
    """The main thread and those after it, and the last two, which hold what could not be read."""
    threads = seen.threads
    if len(threads) > THREADS_KEPT:
        threads = (*threads[: THREADS_KEPT - 2], *threads[-2:])
    return msgspec.structs.replace(seen, threads=tuple(_cut(text) for text in threads))


def _cut(text: str) -> str:
    name, _, frames = text.partition("\n")
    return f"{name[:TEXT_CHARS_KEPT]}\n{frames[-TEXT_CHARS_KEPT:]}"


def _report(tx: Transaction, streak: Standstill) -> None:
    """Once, when every rank has answered or the time is over: an alert, and a line in a live incident's timeline."""
    run, incident = tx.run, tx.training.incident
    if streak.reported:
        return
    streak.reported = True
    taken = [t for t in tx.ledger.stacks.taken if (t.generation, t.count) == (streak.generation, streak.count)]
    text = _places(taken) or texts.NO_STACKS
    if streak.stopped:
        text = texts.stopped(tx.training, streak.stopped, acts=tx.policy.table.act_on_stopped)
    text += f"; not asked: {plural(streak.unasked, 'more rank')}" if streak.unasked else ""
    of_it = incident if incident is not None and incident.family == Family.HANG else None
    if of_it is not None:
        tx.record(of_it, text, Severity.WARNING)
    else:
        tx.notify(text, Severity.WARNING)
    if taken:  # the alert that something hangs is out already
        about = f"{tx.alert_key}/stacks/{streak.generation}/{streak.count}"
        title = f"{tx.name}: where training stands still"
        known = of_it.id if of_it is not None else ""
        tx.effects.append(
            RaiseAlert(about, run.spec.run, AlertKind.STACKS, Severity.WARNING, known, title, text, tx.now_s)
        )


def _places(taken: list[TakenStacks]) -> str:
    """One line: where each rank's main thread stands, ranks that stand alike together, the fewest first."""
    ranks: dict[str, list[int]] = {}
    for each in taken:
        ranks.setdefault(_with_worker(each.seen), []).append(each.rank)
    parts = []
    for where, of in sorted(ranks.items(), key=lambda pair: len(pair[1])):
        shown = ", ".join(map(str, of[:8])) + (" and others" if len(of) > 8 else "")
        parts.append(f"rank {shown} stands in {where}")
    return "; ".join(parts[:4])


def _with_worker(seen: StacksSeen) -> str:
    worker = next((text for text in seen.threads if text.startswith(WORKER)), "")
    return stood(seen.threads) + (f", and its {worker.partition(chr(10))[0]} in {stood((worker,))}" if worker else "")


def stood(threads: tuple[str, ...]) -> str:
    """Where the first thread stands, innermost first: its last frame, then those that are not Python's own."""
    lines = threads[0].splitlines()[1:] if threads else []
    frames = [line.strip() for line in reversed(lines) if line.strip()]
    named = [frame for frame in frames[1:] if not _of_python(frame)]
    return " < ".join([*frames[:1], *named[:STOOD_FRAMES]])[:STOOD_CHARS_MAX] or "an unknown place"


def _of_python(frame: str) -> bool:
    """True where the file is the interpreter's or of its library: "threading.py:327 ..."."""
    return (
        frame.startswith("<")
        or frame.partition(":")[0].partition("/")[0].removesuffix(".py") in sys.stdlib_module_names
    )
