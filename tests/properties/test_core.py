"""Whatever goes wrong in whatever order, the core keeps its promises; a failure is replayed by its printed example."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.engine import Core, snapshot
from monitor.core.model import Entry, FramesRefused, RecordArrived, Tick, Verdict
from monitor.core.policy.settings import Policy, Rollback, Watch
from monitor.core.policy.table_settings import WhenClean
from tests.harness.simulation import At, Simulation, supervised
from trainer_hooks.wire.messages import BatchEnded, Counts, EventSent, OrderApplied, PlanApplied

EPOCHS, BATCHES = 6, 60
POSITIONS = st.tuples(st.integers(1, 4), st.integers(1, EPOCHS), st.integers(0, BATCHES - 1))
FAULTS = st.frozensets(POSITIONS, max_size=60)
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def simulated(
    bad: frozenset[tuple[int, int, int]], sound: frozenset[int], *, cured: bool, obey: bool, redo: float
) -> Simulation:
    """A run whose bad batches are exactly `bad` (generation, epoch, batch), and whose sound checkpoints are `sound`."""

    def fault(at: At) -> bool:
        return (at.generation, at.epoch, at.batch) in bad

    policy = Policy(
        when_clean=WhenClean.ROLLBACK, rollback=Rollback(redo_limit_epochs=redo), watch=Watch(batches_min=40)
    )
    simulation = supervised(
        policy=policy, epochs=EPOCHS, batches_per_epoch=BATCHES, fault=fault, cured=cured, obey=obey,
        verdict=lambda epoch: Verdict.SOUND if epoch in sound else Verdict.POISONED,
    )  # fmt: skip
    simulation.train()
    return simulation


@SLOW
@given(FAULTS, st.frozensets(st.integers(1, EPOCHS)), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.5, 9.0]))
def test_no_rollback_is_ever_a_guess(
    bad: frozenset[tuple[int, int, int]], sound: frozenset[int], cured: bool, obey: bool, redo: float
) -> None:
    """A plan names a checkpoint that is sound and older than the onset; budget, floor and order of events hold."""
    simulation = simulated(bad, sound, cured=cured, obey=obey, redo=redo)
    run = simulation.run
    for plan in simulation.plans.values():
        assert plan.settings.learning_rate >= 0.25 * 0.0005 * (1 - 1e-9)
        if plan.checkpoint is None:
            continue
        incident = next(i for i in run.training.ledger.incidents if i.id == plan.incident)
        saved = simulation.manifests[plan.checkpoint.digest]
        assert plan.checkpoint.epoch in sound
        assert (saved.generation, saved.batches) < (incident.onset.generation, incident.onset.count)
    assert run.training.ledger.rollbacks_used <= 3
    assert run.training.totals.counts.batches == simulation.batches_run
    assert all(not i.live for i in run.training.ledger.incidents)
    again = Core()
    for entry in simulation.entries:
        again.feed(entry)
    assert snapshot(again) == snapshot(simulation.core)


@SLOW
@given(FAULTS, st.randoms(use_true_random=False))
def test_dropped_and_repeated_frames_never_lose_or_double_a_nan(
    bad: frozenset[tuple[int, int, int]], draw: object
) -> None:
    """Records carry totals: any of them may be missing or come twice, as long as one later record arrives."""
    first = frozenset((1, e, b) for _, e, b in bad)
    full = simulated(first, frozenset(), cured=True, obey=False, redo=9.0)
    rate = getattr(draw, "random")  # noqa: B009 - hypothesis types it as object
    lossy = Core()
    batches = [e for e in full.entries if isinstance(e.input, RecordArrived) and isinstance(e.input.record, BatchEnded)]
    seq = 0
    for entry in full.entries:
        times = 1
        if entry in batches and entry is not batches[-1]:
            times = 0 if rate() < 0.3 else 2 if rate() < 0.2 else 1
        for _ in range(times):
            seq += 1
            lossy.feed(Entry(seq, entry.now_s, entry.input))
    assert lossy.fleet.runs["night"].training.totals.counts == full.run.training.totals.counts


def junk_batch(generation: int, n: int, bits: int, skipped_by: str) -> RecordArrived:
    batch = BatchEnded(0.0, 0.0, n, n, 0, Counts(n), nonfinite=bits, skipped_by=skipped_by)
    return RecordArrived("night", generation, 0, batch)


def junk_answer(seq: int, text: str) -> RecordArrived:
    return RecordArrived("night", 1, 0, EventSent(seq, OrderApplied(0.0, text, text, text, 0, 0, {})))


def junk_read_back(seq: int, text: str) -> RecordArrived:
    return RecordArrived("night", 1, 7, EventSent(seq, PlanApplied(0.0, text, text, 0, {}, (text,))))


JUNK = st.one_of(
    st.builds(junk_batch, st.integers(0, 3), st.integers(0, 5), st.integers(0, 255), st.text(max_size=5)),
    st.builds(junk_answer, st.integers(0, 9), st.text(max_size=4)),
    st.builds(junk_read_back, st.integers(0, 9), st.text(max_size=4)),
    st.just(Tick()),
    st.just(FramesRefused("nobody", 1, "")),
)


@SLOW
@given(st.lists(JUNK, max_size=40))
def test_nonsense_from_a_hook_never_raises(inputs: list[object]) -> None:
    """The daemon treats every frame as hostile; the core answers nonsense with counts."""
    simulation = supervised(epochs=1, batches_per_epoch=5, batches_max=4)
    simulation.train()
    for n, given_ in enumerate(inputs):
        simulation.core.feed(Entry(len(simulation.entries) + 1 + n, simulation.now_s, given_))  # type: ignore[arg-type]
    assert simulation.run.ledger.defects == 0
