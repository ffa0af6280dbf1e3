"""Has the stacks of a hung training taken, and tells what they say. Pure.

Each rank is asked over its own socket, which a thread of the hook answers. A rank that doesn't answer within LOOK_S has
its interpreter held by a call that never returns (or its process is stopped): then somebody outside looks, the shim
where there is one. An incident about a hang, and with it everything that ends the process, waits for the answers, and
no longer than WAIT_S.
"""

from __future__ import annotations

import sys

import msgspec

from monitor.model import Finding, LookAtTraining, RaiseAlert, SendOrder, Severity, StacksTaken
from monitor.policy.planning import order_for
from monitor.policy.turn import Turn
from monitor.state.stacks import StackSpell, TakenStacks
from trainer_hooks.wire.messages import StacksSeen

HANG = "hang"  # the detector and its family
SPELLS_MAX = 10  # of a run: a training that hangs more often has told enough
RANKS_MAX = 64  # asked in one spell; collectives make the others wait in the same place
AGAIN_S = 1.0
LOOK_S = 5.0  # a hook answers within a turn of 50 ms, on a machine under load within a second
WAIT_S = 25.0  # for a look from outside: py-spy has 10 s, and each part after it some seconds
TAKEN_MAX = 64  # stacks of one rank that are kept: with the two limits below 1 MB of state at the very most
THREADS_KEPT = 8
TEXT_CHARS_KEPT = 2_000  # of one thread, its innermost frames
SAID_CHARS_MAX = 200
WORKER = "worker process "  # begins the text of a loader's worker
STOOD_FRAMES = 3  # of the main thread, beside its last one, in one line for people


def acted_on(turn: Turn, findings: list[Finding]) -> list[Finding]:
    """Have stacks taken where a training hangs; the critical findings that may open an incident by now."""
    hung = next((f for f in findings if f.detector == HANG), None)
    if hung is not None:
        _ask(turn, hung)
    critical = [f for f in findings if f.severity is Severity.CRITICAL]
    spell = turn.run.stacks.spell
    if spell is None or not spell.waiting:
        return critical
    return [f for f in critical if f.detector != HANG]


def _ask(turn: Turn, finding: Finding) -> None:
    """Once for each standstill, of every rank."""
    run, stacks = turn.run, turn.run.stacks
    count = finding.at.count
    known = stacks.spell
    if known is not None and (known.generation, known.count) == (run.generation, count):
        return
    if stacks.spent >= SPELLS_MAX:
        return
    stacks.spent += 1
    orders = {rank: order_for(run, "stacks", finding.summary, rank) for rank in sorted(run.ranks)[:RANKS_MAX]}
    stacks.spell = StackSpell(run.generation, count, turn.now_s, orders, turn.now_s)
    turn.effects.extend(SendOrder(order.id, order) for order in orders.values())


def on_tick(turn: Turn) -> None:
    """Ask again, have somebody look, or go on without an answer."""
    run, spell = turn.run, turn.run.stacks.spell
    if spell is None or not spell.waiting:
        return
    waited_s = turn.now_s - spell.began_s
    if spell.generation != run.generation or not run.alive or waited_s > WAIT_S:
        spell.waiting = {}
        _tell(turn, spell)
        return
    if turn.now_s - spell.sent_s >= AGAIN_S:
        spell.sent_s = turn.now_s
        turn.effects.extend(SendOrder(order.id, order) for order in spell.waiting.values())
    if waited_s >= LOOK_S and not spell.looked:
        spell.looked = True
        for rank, order in spell.waiting.items():
            turn.effects.append(LookAtTraining(turn.effect_id(), run.spec.run, run.generation, rank, order.id))


def on_taken(turn: Turn, taken: StacksTaken) -> None:
    """Somebody outside has looked."""
    if taken.generation == turn.run.generation:
        on_stacks(turn, taken.rank, taken.seen)


def on_stacks(turn: Turn, rank: int, seen: StacksSeen) -> None:
    """A rank, or somebody outside, has answered; what nobody asked for is passed over."""
    run, spell = turn.run, turn.run.stacks.spell
    if spell is None or spell.generation != run.generation:
        return
    order = spell.waiting.get(rank)
    if order is None or order.id != seen.order_id:
        return
    del spell.waiting[rank]
    at = run.position
    where = f"epoch {at.epoch}, batch {at.batch}" if at else "before the first batch"
    run.stacks.taken.append(TakenStacks(turn.now_s, run.generation, rank, spell.count, where, _kept(seen)))
    del run.stacks.taken[:-TAKEN_MAX]
    if not spell.waiting:
        _tell(turn, spell)


def _kept(seen: StacksSeen) -> StacksSeen:
    """The main thread and those after it, and the last two, which say what was not possible."""
    threads = seen.threads
    if len(threads) > THREADS_KEPT:
        threads = (*threads[: THREADS_KEPT - 2], *threads[-2:])
    return msgspec.structs.replace(seen, threads=tuple(_cut(text) for text in threads))


def _cut(text: str) -> str:
    name, _, frames = text.partition("\n")
    return f"{name[:TEXT_CHARS_KEPT]}\n{frames[-TEXT_CHARS_KEPT:]}"


def _tell(turn: Turn, spell: StackSpell) -> None:
    """Once, when every rank has answered or the time is over: to people, and to the story of a live incident."""
    run, incident = turn.run, turn.run.incident
    if spell.told:
        return
    spell.told = True
    taken = [t for t in run.stacks.taken if (t.generation, t.count) == (spell.generation, spell.count)]
    said = _said(taken) or "nobody could say where it stands: neither its hook nor anybody outside answered"
    of_it = incident if incident is not None and incident.family == HANG else None
    if of_it is not None:
        turn.tell(of_it, said, Severity.WARNING)
    else:
        turn.say(said, Severity.WARNING)
    if taken:  # the alert that something hangs is out already
        about = f"{run.spec.run}/stacks/{spell.generation}/{spell.count}"
        title = f"{turn.name}: where the training stands still"
        known = of_it.id if of_it is not None else ""
        turn.effects.append(RaiseAlert(about, run.spec.run, "stacks", Severity.WARNING, known, title, said, turn.now_s))


def _said(taken: list[TakenStacks]) -> str:
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
    return " < ".join([*frames[:1], *named[:STOOD_FRAMES]])[:SAID_CHARS_MAX] or "an unknown place"


def _of_python(frame: str) -> bool:
    """True where the file is the interpreter's or of its library: "threading.py:327 ..."."""
    return (
        frame.startswith("<")
        or frame.partition(":")[0].partition("/")[0].removesuffix(".py") in sys.stdlib_module_names
    )
