"""The night the project exists for, as a stream of 41,163-batch epochs through the real core, with the preset rollback.

The figures it is held to: 50 epochs of 41,163 batches; epochs 1 to 3 clean; from batch 32 of epoch 4 on 73 non-
finite batches
in the first 7,550 (0.97 %), 72 optimizer steps skipped; reserved GPU memory up from 4.20 to 4.71 GB; 4.89 hours an
epoch.
"""

from __future__ import annotations

import functools
import random
import statistics

from monitor.core.model import IncidentState
from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import WhenClean
from tests.harness.simulation import At, Simulation, supervised

BATCHES_PER_EPOCH = 41_163
SEEN, BAD, FIRST = 7_550, 73, 32
BATCH_S = 4.89 * 3600 / BATCHES_PER_EPOCH


def bad_positions(seed: int) -> frozenset[int]:
    """Batches of epoch 4 that were not finite: the first at 32, 73 of the first 7,550, and so on at that rate."""
    draw = random.Random(seed)
    first = [FIRST, *draw.sample(range(FIRST + 1, SEEN), BAD - 1)]
    later = draw.sample(range(SEEN, BATCHES_PER_EPOCH), round((BATCHES_PER_EPOCH - SEEN) * BAD / SEEN))
    return frozenset([*first, *later])


@functools.cache
def night(seed: int, *, act: bool = True, batches: int = SEEN) -> Simulation:
    """The night up to `batches` of epoch 4 (or of the second try at it)."""
    bad = bad_positions(seed)

    def fault(at: At) -> bool:
        lowered = at.settings is not None and at.settings.learning_rate < 0.0005
        return at.epoch == 4 and at.batch in bad and not lowered

    simulation = supervised(
        policy=Policy(when_clean=WhenClean.ROLLBACK),
        epochs=50,
        batches_per_epoch=BATCHES_PER_EPOCH,
        batch_s=BATCH_S,
        fault=fault,
        act=act,
        rates=(0.000282, 0.000282, 0.0005),
        rates_used=(0.000282, 0.000282, 0.0403),
        batches_max=3 * BATCHES_PER_EPOCH + batches,
    )
    simulation.train()
    return simulation


def test_it_is_stopped_within_minutes_and_goes_back_to_epoch_3() -> None:
    simulation = night(seed=1)
    incident = simulation.run.training.ledger.incidents[0]
    assert incident.opened_at.epoch == 4
    assert incident.onset.batch >= FIRST
    assert incident.action.left_at is not None
    assert incident.action.left_at.batch - incident.opened_at.batch <= 1
    plan = simulation.plans["plan-2.json"]
    assert plan.checkpoint is not None
    assert plan.checkpoint.epoch == 3
    assert incident.totals.batches_discarded == incident.action.left_at.batch + 1
    # The built-in recovery looks at the last batch of the epoch only, after validation: a whole epoch, where it
    # looks at all.
    assert incident.totals.batches_discarded < BATCHES_PER_EPOCH / 20


def test_the_bias_group_never_passes_its_rate_before_the_incident() -> None:
    """At the onset biases stood at 0.0403, 80 times lr0.

    Halving the rates with a longer warm-up would have raised them.
    """
    plan = night(seed=1).plans["plan-2.json"]
    bias = next(g for g in plan.settings.groups if g.name == "bias")
    assert bias.rate_max == 0.0403
    assert bias.base_rate == 0.00025
    assert plan.settings.ramp_batches == round(4.7 * BATCHES_PER_EPOCH)  # a tenth of what is left


def test_the_rules_fire_within_a_thousand_batches_whatever_the_draw() -> None:
    """The median and the 95th percentile over draws of the same rate, by the same rules, from the positions alone."""
    fired = []
    for seed in range(200):
        bad = sorted(bad_positions(seed))
        burst = next((b for i, b in enumerate(bad) if i >= 2 and b - bad[i - 2] < 100), SEEN)
        rate = next((b for i, b in enumerate(bad) if i >= 4 and b - bad[i - 4] < 1000), SEEN)
        fired.append(min(burst, rate))
    assert statistics.median(fired) < 600
    assert statistics.quantiles(fired, n=20)[-1] < 1100


def test_an_observed_night_is_told_of_once_and_its_projection_is_about_400() -> None:
    simulation = night(seed=1, act=False)
    (incident,) = simulation.run.training.ledger.incidents
    assert incident.state is IncidentState.CLOSED  # with the recording, watched until then
    assert [a.kind for a in simulation.alerts] == ["incident_opened", "closed"]
    row = simulation.run.training.epochs[-1]
    assert (row.batches, row.nonfinite) == (SEEN, BAD)
    assert 390 <= round(row.nonfinite / row.batches * BATCHES_PER_EPOCH) <= 405
