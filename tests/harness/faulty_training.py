"""A training with planted faults, as a few numbers: how far it has come, and what damages it.

It is played with the real core.

The loss falls as the steps add up, a step at half the rate counts for 0.84 of one, and a fault makes batches bad,
weights NaN, or the loss too high. What the policy orders is carried out: the state of the checkpoint is put back, the
rate is changed. `guard_only` plays the same faults with nothing but a guard that skips bad steps.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from monitor.core.model import GenerationDied, GenerationExited, RunEnded, Verdict
from monitor.core.policy.settings import Policy
from tests.harness.batch_counts import BUFFER, GRADIENT, LOSS, NO_COUNTS, PARAMETER, counted
from tests.harness.simulation import Simulation, supervised
from trainer_hooks.wire.messages import BatchEnded, NonfiniteSeen, Order, OrderApplied, PlanApplied, SettingChanged
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit

EPOCHS, PER_EPOCH = 60, 50
BATCHES = EPOCHS * PER_EPOCH
BATCH_SIZE = 8
SAMPLES = PER_EPOCH * BATCH_SIZE
NOISE = 0.03  # of the loss, log-normal
FLOOR, FALL = 0.3, 2.0  # a healthy training ends at 0.3 + 2 exp(-3) = 0.4
RATE_WORTH = 0.25  # a step at a rate of k times the user's counts for k ** this
TRAINED_MAX = 3  # times the batches of the training: no loop of rollbacks goes on for ever
OWN_RATE = 0.0005


@dataclass
class State:
    """What a checkpoint of the training holds."""

    progress: float = 0.0  # steps
    too_high: float = 0.0  # of the loss: finite damage
    nan: bool = False
    done: int = 0  # batches of this branch


@dataclass
class Batch:
    """What a fault does to one batch."""

    bad: bool = False
    overflow: bool = False  # the scaler skips it
    raises: float = 0.0  # the loss, until it heals
    heals: float = 1.0  # factor on what raises the loss
    nan_weights: bool = False
    rank: int = 0  # whose loss is not finite
    sample: str = ""  # that is in it
    rate: float = 1.0  # times the one in force, for no reason that the hook knows


@dataclass
class Life:
    """What a fault may depend on, and remember over all branches of one training."""

    draw: random.Random
    state: State = field(default_factory=State)
    rate: float = 1.0  # of the user's own
    generation: int = 1
    happened: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """How far the present branch has come, from 0 to 1."""
        return self.state.done / BATCHES

    def once(self, name: str, share: float) -> bool:
        """True for one batch in the life of the training, the first at or after `share` of it."""
        if self.share < share or name in self.happened:
            return False
        self.happened[name] = 1
        return True


Fault = Callable[[Life], Batch]


def healthy(life: Life) -> Batch:
    return Batch()


def one_bad_image(life: Life) -> Batch:
    """Once an epoch, at another place each time."""
    epoch = life.state.done // PER_EPOCH
    at = (7 * epoch + life.generation) % PER_EPOCH
    return Batch(bad=True, sample="bad.jpg") if life.state.done % PER_EPOCH == at else Batch()


def at_random(life: Life) -> Batch:
    return Batch(bad=life.draw.random() < 0.01)


def late_at_random(life: Life) -> Batch:
    return Batch(bad=life.share > 0.25 and life.draw.random() < 0.03)


def scaler_for_ever(life: Life) -> Batch:
    """In half precision nothing is left from some batch on."""
    return Batch(overflow=life.state.done > 100)


def from_the_first(life: Life) -> Batch:
    return Batch(bad=True)


def first_alone(life: Life) -> Batch:
    return Batch(bad=life.state.done == 0)


def rate_too_high_for_a_while(life: Life) -> Batch:
    """Five steps at 200 times the rate, in the middle."""
    if life.once("jump", 0.5):
        life.happened["left"] = 5
    left = life.happened.get("left", 0)
    life.happened["left"] = max(left - 1, 0)
    return Batch(raises=1.5) if left else Batch()


def slow_divergence(life: Life) -> Batch:
    """The rate is too high from the middle on, and NaN comes once the loss is high."""
    bad = life.state.too_high > 8.0
    if life.share > 0.5 and life.rate > 0.6:
        return Batch(bad=bad, raises=0.02)
    return Batch(bad=bad, heals=0.99)


def weight_hit_once(life: Life) -> Batch:
    return Batch(nan_weights=life.once("hit", 0.5))


def weight_hit_near_the_end(life: Life) -> Batch:
    return Batch(nan_weights=life.once("late hit", 0.97))


def one_rank(life: Life) -> Batch:
    return Batch(bad=life.share > 0.25 and life.draw.random() < 0.02, rank=1)


def scaler_search(life: Life) -> Batch:
    return Batch(overflow=life.state.done < 12 or life.state.done % 1000 == 999)


def spike_that_heals(life: Life) -> Batch:
    return Batch(raises=4.0) if life.once("spike", 0.5) else Batch(heals=0.87)


def caused_by_the_rate(life: Life) -> Batch:
    return Batch(bad=life.share > 0.5 and life.rate > 0.6 and life.draw.random() < 0.02)


def rising(life: Life) -> Batch:
    """More and more bad batches, and hardly any at half the rate."""
    after = max(life.state.done - BATCHES // 2, 0)
    chance = min(0.9, 0.002 * 1.004**after) * (1.0 if life.rate > 0.6 else 0.05)
    return Batch(bad=after > 0 and life.draw.random() < chance)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        one_bad_image, at_random, late_at_random, first_alone,
        rate_too_high_for_a_while, slow_divergence, weight_hit_once,
        weight_hit_near_the_end, one_rank, scaler_search, scaler_for_ever, spike_that_heals, caused_by_the_rate, rising,
    )
}  # fmt: skip


def mixed(faults: Sequence[Fault]) -> Fault:
    """All of them at once."""

    def mix(life: Life) -> Batch:
        parts = [fault(life) for fault in faults]
        return Batch(
            bad=any(p.bad for p in parts),
            overflow=any(p.overflow for p in parts),
            raises=sum(p.raises for p in parts),
            heals=min(p.heals for p in parts),
            nan_weights=any(p.nan_weights for p in parts),
            rank=max(p.rank for p in parts),
            sample=next((p.sample for p in parts if p.sample), ""),
            rate=max(p.rate for p in parts),
        )

    return mix


def step(life: Life, batch: Batch) -> bool:
    """Train one batch with a guard; returns whether it was bad."""
    state = life.state
    bad = batch.bad or state.nan or batch.nan_weights
    state.nan |= batch.nan_weights
    if not bad and not batch.overflow:
        state.progress += life.rate**RATE_WORTH
    state.too_high = max(0.0, state.too_high * batch.heals + batch.raises)
    state.done += 1
    return bad


def loss_of(state: State) -> float:
    """Without noise; NaN where the weights are."""
    return math.nan if state.nan else FLOOR + FALL * math.exp(-3.0 * state.progress / BATCHES) + state.too_high


def guard_only(fault: Fault, seed: int) -> float:
    """The final loss where bad steps are skipped and nothing else is done."""
    life = Life(random.Random(seed))
    while life.state.done < BATCHES:
        step(life, fault(life))
    return loss_of(life.state)


@dataclass
class Played:
    """A training that the core watched over."""

    loss: float  # of the state it ended with; where it was stopped, of the checkpoint that the stop names
    finished: bool
    trained: float  # batches, in lengths of the training
    simulation: Simulation

    @property
    def actions(self) -> list[str]:
        """What was ordered, in order."""
        return [order.kind for order in self.simulation.orders]

    @property
    def said(self) -> str:
        return "\n".join(self.simulation.messages)


class Watched:
    """The same training with the core beside it."""

    def __init__(self, fault: Fault, seed: int, policy: Policy | None = None, killed_at: Sequence[int] = ()) -> None:
        """`killed_at`: its process is killed after so many batches, those that are done again counted too."""
        self.fault, self.killed_at = fault, killed_at
        self.left_by_kills: list[float] = []  # the loss of each state that was lost with the process
        self.life = Life(random.Random(seed))
        self.noise = random.Random(seed + 1)
        self.simulation = supervised(
            epochs=EPOCHS, batches_per_epoch=PER_EPOCH, policy=policy or Policy(), rates=(OWN_RATE,) * 3
        )
        self.saved: dict[str, State] = {}  # by digest
        self.trained = 0
        self.counts = {0: NO_COUNTS, 1: NO_COUNTS}
        self.factor = 1.0  # of the rate, in the batch before

    def play(self) -> Played:
        """Train to the end, or until the policy stops it."""
        self.simulation.restart(1)
        finished = True
        while self.life.state.done < BATCHES and self.trained < TRAINED_MAX * BATCHES:
            self._one_batch()
            if (order := self.simulation.pending) is not None and not self._obeyed(order):
                finished = False
                break
            if self.life.state.done % PER_EPOCH == 0:
                self._save()
            if self.trained in self.killed_at and not self._killed():
                finished = False
                break
        self.simulation.feed(RunEnded("night", "finished" if finished else "held", ""))
        return Played(self._final(finished=finished), finished, self.trained / BATCHES, self.simulation)

    def _final(self, *, finished: bool) -> float:
        """A person who reads that the run was stopped goes on with the newest clean checkpoint that it names."""
        if finished:
            return loss_of(self.life.state)
        named = [
            s for digest, s in self.saved.items() if f"/vault/{digest}" in "\n".join(self.simulation.messages[-3:])
        ]
        return loss_of(named[-1]) if named else loss_of(self.life.state)

    def _one_batch(self) -> None:
        life, simulation = self.life, self.simulation
        done = life.state.done
        batch = self.fault(life)
        bad = step(life, batch)
        self.trained += 1
        simulation.now_s += 0.1
        epoch, index = done // PER_EPOCH + 1, done % PER_EPOCH
        loss = math.nan if bad and batch.rank == 0 else loss_of(replace(life.state, nan=False))
        loss *= math.exp(NOISE * self.noise.gauss(0.0, 1.0))
        both = batch.rank == 1 or len(simulation.run.training.ranks) > 1
        for rank in (0, 1) if both else (0,):
            self._send(rank, batch, bad=bad, loss=loss, epoch=epoch, index=index)
        if batch.rate != self.factor:
            reason = "" if batch.rate > self.factor else "lowered by the training"
            before, now = (str(OWN_RATE * life.rate * factor) for factor in (self.factor, batch.rate))
            simulation.send(SettingChanged(simulation.now_s, epoch, index, "learning_rate/weight", before, now, reason))
        self.factor = batch.rate

    def _send(self, rank: int, batch: Batch, *, bad: bool, loss: float, epoch: int, index: int) -> None:
        simulation, state = self.simulation, self.life.state
        own = bad and (rank == batch.rank or state.nan)
        bits = (GRADIENT | (LOSS | BUFFER if own else 0)) if bad else 0
        bits |= PARAMETER if state.nan else 0
        cured = bool(bits) and not state.nan
        self.counts[rank] = counts = counted(self.counts[rank], bits, cured=cured, overflow=batch.overflow)
        if bits and rank == 0:
            names = self._samples(batch)
            simulation.send(
                NonfiniteSeen(simulation.now_s, epoch, index, bits, loss, (), math.nan, cured, names, False, ""), rank
            )
        skipped = "guard" if cured else "scaler" if batch.overflow else ""
        rate = OWN_RATE * self.life.rate * batch.rate
        record = BatchEnded(
            simulation.now_s, simulation.now_s, epoch, index, PER_EPOCH, counts, loss=math.nan if own else loss,
            grad_norm=math.nan if bad else 5.0, nonfinite=bits, skipped_by=skipped, cured=cured,
            learning_rates=(rate,) * 3, batch_size=BATCH_SIZE, batch_s=0.1, onset_samples_left=0,
            loss_scale=65536.0 if batch.overflow else None,
        )  # fmt: skip
        simulation.send(record, rank)

    def _samples(self, batch: Batch) -> tuple[str, ...]:
        names = [f"{n}.jpg" for n in self.noise.sample(range(SAMPLES), BATCH_SIZE - bool(batch.sample))]
        return (batch.sample, *names) if batch.sample else tuple(names)

    def _obeyed(self, order: Order) -> bool:
        """Carry an order out between two batches. False: the run is over."""
        simulation, done = self.simulation, self.life.state.done
        simulation.pending = None
        plan = simulation.plans.get(order.plan)
        epoch, index = done // PER_EPOCH + 1, done % PER_EPOCH
        simulation.send(OrderApplied(simulation.now_s, order.id, "applied", "", epoch, index, {}))
        if plan is not None and order.kind == "adjust":
            self.life.rate = plan.settings.learning_rate / OWN_RATE
            return True
        return self._relaunched(
            Exit(number=simulation.generation, code=75, signal=None, ended_s=simulation.now_s), plan
        )

    def _killed(self) -> bool:
        """The supervisor asks what follows. False: the run is over."""
        simulation = self.simulation
        self.left_by_kills.append(loss_of(self.life.state))
        over = Exit(number=simulation.generation, code=None, signal=9, ended_s=simulation.now_s)
        simulation.feed(GenerationDied("night", over, "", simulation.now_s + 15.0))
        return self._relaunched(over, simulation.plans.get(f"plan-{simulation.generation + 1}.json"))

    def _relaunched(self, exit_: Exit, plan: Plan | None) -> bool:
        """The next generation starts from its plan. False: there is none."""
        simulation = self.simulation
        simulation.feed(GenerationExited("night", exit_, relaunch=plan is not None))
        if plan is None or plan.checkpoint is None:
            return False
        self.life.state = replace(self.saved[plan.checkpoint.digest])
        self.life.rate = plan.settings.learning_rate / OWN_RATE
        self.life.generation += 1
        self.factor = 1.0
        self.counts = {0: NO_COUNTS, 1: NO_COUNTS}
        simulation.in_force = plan.settings
        simulation.now_s += 10.0
        simulation.restart(plan.start_epoch, plan=plan.id)
        simulation.send(PlanApplied(simulation.now_s, plan.id, "first step", plan.start_epoch, {}, ()))
        return True

    def _save(self) -> None:
        epoch = self.life.state.done // PER_EPOCH
        digest = hashlib.sha256(f"{self.simulation.generation}/{epoch}/{self.trained}".encode()).hexdigest()
        self.saved[digest] = replace(self.life.state)
        self.simulation.counts[0] = self.counts[0]
        self.simulation.checkpoint(digest, Verdict.POISONED if self.life.state.nan else Verdict.SOUND, epoch=epoch)


MIXED = sorted(FAULTS.keys() - {"scaler_for_ever"})  # which no training survives
WORSE_BY = 0.05  # of the loss: what noise and the order of batches make


def worse(loss: float, than: float) -> bool:
    """True where a training ended worse than another; one that ended with NaN can't be beaten downwards."""
    return not math.isnan(than) and not loss <= than + WORSE_BY


def random_mix(number: int) -> tuple[list[str], Fault]:
    """One to three faults, the same for a number every time."""
    draw = random.Random(number)
    names = draw.sample(MIXED, draw.choice([1, 2, 2, 3]))
    return names, mixed([FAULTS[name] for name in names])
