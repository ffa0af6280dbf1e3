"""The core as a whole, in virtual time: what it does about a training that goes wrong."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.engine import Core, restored, snapshot
from monitor.core.model import CommandGiven, EndTraining, GenerationStarted, IncidentState, RunEnded, Verdict
from monitor.core.policy.settings import Policy, Rollback, Watch
from monitor.core.policy.table_settings import WhenClean
from monitor.core.summary import summary_of
from tests.harness.simulation import At, supervised
from trainer_hooks.wire.messages import HookTrouble

NIGHT = Policy(when_clean=WhenClean.ROLLBACK, rollback=Rollback(redo_limit_epochs=2.0), watch=Watch(batches_min=120))


def until_halved(at: At) -> bool:
    """From batch 32 of epoch 4 on, one batch in ten, until the learning rate was lowered."""
    lowered = at.settings is not None and at.settings.learning_rate <= 0.00025
    return (at.epoch, at.batch) >= (4, 32) and at.batch % 10 == 2 and not lowered


def test_a_night_that_goes_wrong_is_stopped_rolled_back_strengthened_and_finished() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved)
    assert simulation.train() == "finished"
    (incident,) = simulation.run.training.ledger.incidents
    assert incident.state is IncidentState.RESOLVED
    assert [(o.kind, o.plan) for o in simulation.orders] == [("stop", "plan-2.json")]
    plan = simulation.plans["plan-2.json"]
    assert (plan.start_epoch, plan.checkpoint.epoch) == (4, 3)
    assert [(c.setting, c.old, c.new) for c in plan.changes] == [
        ("learning rate (lr0)", "0.0005", "0.00025"),
        ("gradient clip (max norm)", "10", "5"),
        ("warm-up (epochs)", "5", "5.5"),  # a tenth of the five epochs that are left
        ("momentum", "0.9", "0.85"),
        ("weight decay", "0.0005", "0.001"),
    ]
    assert [a.kind for a in simulation.alerts] == ["incident_opened", "rolled_back", "resolved"]
    assert incident.totals.batches_discarded == 53
    assert {r.status for r in simulation.run.training.epochs if (r.generation, r.epoch) == (1, 4)} == {"discarded"}


def test_the_third_bad_batch_fires_and_the_order_is_obeyed_at_that_boundary() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved)
    simulation.train()
    incident = simulation.run.training.ledger.incidents[0]
    assert (incident.onset.epoch, incident.onset.batch) == (4, 32)
    assert (incident.opened_at.epoch, incident.opened_at.batch) == (4, 52)
    assert incident.action.left_at is not None
    assert incident.action.left_at.count - incident.opened_at.count <= 1


def test_a_provably_clean_state_late_in_an_epoch_is_adjusted_in_place() -> None:
    """Going back would redo half an epoch; the guard kept the weights clean, so only rate and clip change."""
    simulation = supervised(fault=until_halved, policy=Policy(watch=Watch(batches_min=120)))
    assert simulation.train() == "finished"
    assert [o.kind for o in simulation.orders] == ["adjust"]
    assert simulation.run.training.ledger.incidents[0].state is IncidentState.RESOLVED
    assert simulation.run.generation == 1
    assert [c.setting for c in simulation.run.training.ledger.incidents[0].action.changes] == [
        "learning rate (lr0)",
        "gradient clip (max norm)",
    ]


def test_an_adjustment_that_does_not_help_is_undone_and_a_clean_training_goes_on() -> None:
    simulation = supervised(
        fault=lambda at: (at.epoch, at.batch) >= (4, 32) and at.batch % 10 == 2,
        policy=Policy(watch=Watch(batches_min=120)),
    )
    assert simulation.train() == "finished"
    assert [o.kind for o in simulation.orders] == ["adjust", "adjust"]
    first, second = (simulation.plans[order.plan].settings.learning_rate for order in simulation.orders)
    assert (first, second) == (pytest.approx(0.00025), pytest.approx(0.0005))
    (incident,) = simulation.run.training.ledger.incidents
    assert incident.action.kind == "go_on"
    assert simulation.run.generation == 1


@pytest.mark.parametrize("cured", [True, False])
def test_what_never_heals_goes_further_back_until_the_budget_is_spent(cured: bool) -> None:
    """Then a clean training goes on with its bad steps skipped, and a damaged one is stopped."""

    def fault(at: At) -> bool:
        return (at.epoch, at.batch) >= (4, 32) and at.batch % 10 == 2

    simulation = supervised(policy=NIGHT, fault=fault, cured=cured)
    assert simulation.train() == ("finished" if cured else "stopped")
    incident = simulation.run.training.ledger.incidents[-1]
    assert incident.state is (IncidentState.CLOSED if cured else IncidentState.GIVEN_UP)
    plans = [p for p in simulation.plans.values() if p.checkpoint]
    for one in simulation.run.training.ledger.incidents:
        strengthened = [p.checkpoint.epoch for p in plans if p.incident == one.id and p.checkpoint and p.changes]
        assert strengthened == sorted(set(strengthened), reverse=True)  # what did not help is not tried again
    assert len(plans) <= NIGHT.rollback.budget
    assert min(p.settings.learning_rate for p in simulation.plans.values()) >= 0.25 * 0.0005 * (1 - 1e-9)
    assert ("given_up" in [alert.kind for alert in simulation.alerts]) is not cured


def test_without_a_clean_checkpoint_a_poisoned_run_is_stopped_and_nothing_is_guessed() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved, cured=False, verdict=lambda epoch: Verdict.POISONED)
    assert simulation.train() == "stopped"
    assert simulation.run.training.ledger.incidents[0].state is IncidentState.GIVEN_UP
    assert not simulation.plans
    assert "no clean checkpoint" in simulation.run.training.ledger.incidents[0].outcome


def test_a_poisoned_state_is_critical_at_its_first_batch() -> None:
    simulation = supervised(fault=until_halved, cured=False, policy=Policy(watch=Watch(batches_min=120)))
    simulation.train()
    incident = simulation.run.training.ledger.incidents[0]
    assert (incident.opened_at.epoch, incident.opened_at.batch) == (4, 32)
    assert {f.detector for f in incident.findings} >= {"poisoned_state"}
    assert [o.kind for o in simulation.orders] == ["stop", "stop"]


def test_one_event_that_is_over_goes_back_with_the_settings_as_they_were_and_a_relapse_is_strengthened() -> None:
    simulation = supervised(fault=until_halved, cured=False)
    assert simulation.train() == "finished"
    first, second = (simulation.plans[order.plan] for order in simulation.orders)
    assert (first.changes, first.settings.learning_rate) == ((), 0.0005)
    assert second.settings.learning_rate == 0.00025
    thread = [alert.kind for alert in simulation.alerts if alert.incident]
    assert thread == ["incident_opened", "rolled_back", "escalated", "rolled_back", "resolved"]


def test_an_observed_run_is_told_of_and_left_alone() -> None:
    simulation = supervised(
        fault=lambda at: (at.epoch, at.batch) >= (4, 32) and at.epoch < 5 and at.batch % 10 == 2, act=False, epochs=20
    )
    assert simulation.train() == "finished"
    assert not simulation.orders
    assert [a.kind for a in simulation.alerts] == ["incident_opened", "resolved"]
    assert simulation.run.training.ledger.incidents[0].state is IncidentState.RECOVERED


def test_isolated_bad_batches_open_nothing() -> None:
    simulation = supervised(fault=lambda at: at.batch == 50 and at.epoch % 2 == 0, batches_per_epoch=1000, epochs=6)
    assert simulation.train() == "finished"
    assert not simulation.run.training.ledger.incidents


def test_a_refused_order_leads_to_the_next_action() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved, obey=False)
    simulation.train()
    assert len(simulation.orders) > 1
    counters = simulation.run.training.ledger.counters
    assert counters.orders["stop/refused"] >= counters.rollbacks["failed"] >= 1


def test_the_journal_replayed_gives_the_same_effects() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved)
    simulation.train()
    again = Core()
    replayed = [effect for entry in simulation.entries for effect in again.feed(entry).effects]
    assert sorted(map(msgspec.json.encode, replayed)) == sorted(map(msgspec.json.encode, simulation.effects))
    assert snapshot(again) == snapshot(simulation.core)


def test_a_snapshot_in_the_middle_and_the_rest_of_the_journal_give_the_same_state() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved)
    simulation.train()
    for cut in range(0, len(simulation.entries), 97):
        first = Core()
        for entry in simulation.entries[:cut]:
            first.feed(entry)
        second = restored(snapshot(first))
        for entry in simulation.entries[max(cut - 5, 0) :]:  # entries seen before are passed over
            second.feed(entry)
        assert snapshot(second) == snapshot(simulation.core), cut


def test_counters_never_go_back_over_a_rollback() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved)
    simulation.train()
    assert simulation.run.training.totals.counts.batches == simulation.batches_run
    assert simulation.run.training.totals.counts.nonfinite_batches == 3


def test_a_defect_of_ours_is_told_and_counted_and_the_next_input_is_taken() -> None:
    """A broken entry in the state stands for any exception within the core."""
    simulation = supervised(epochs=2)
    simulation.run.training.checkpoints.append(None)  # type: ignore[arg-type]
    assert simulation.train() == "finished"
    assert simulation.run.ledger.defects > 0
    assert any("a defect of trainwarden" in line for line in simulation.messages)


@pytest.mark.parametrize("stored", ['{"version": 1, "no_such_section": {}}', '{"version": 99}', "{", ""])
def test_a_stored_policy_that_is_not_valid_here_leaves_the_run_watched_and_is_notified_once(stored: str) -> None:
    simulation = supervised(epochs=2, batches_per_epoch=40, fault=lambda at: at.epoch == 2)
    simulation.run.policy = stored
    assert simulation.train() == "finished"
    assert (len(simulation.orders), simulation.run.ledger.defects) == (0, 0)
    assert simulation.run.training.ledger.counters.incidents == {"nonfinite/critical": 1}
    assert sum("stored policy of the run is not valid here" in line for line in simulation.messages) == 1


def test_an_order_to_stop_that_is_not_obeyed_is_left_to_the_supervisor() -> None:
    """With a plan the supervisor watches the clock itself; an operator's stop has none."""
    simulation = supervised(epochs=1, batches_per_epoch=20, batches_max=10, fault=lambda at: False)
    simulation.feed(GenerationStarted("night", 1, "nonce", 1, 999))
    simulation.feed(CommandGiven("night", "stop", "me"))
    simulation.tick(20)
    assert not [e for e in simulation.effects if isinstance(e, EndTraining)]
    simulation.tick(20)
    simulation.tick(20)
    assert len([e for e in simulation.effects if isinstance(e, EndTraining)]) == 1


def test_a_title_becomes_one_printable_line_in_every_alert() -> None:
    simulation = supervised(policy=NIGHT, fault=until_halved)
    simulation.run.spec = msgspec.structs.replace(simulation.run.spec, title="night\n of \x1b[31mred\t")
    simulation.train()
    assert {a.title.partition(":")[0] for a in simulation.alerts} == {"night of [31mred"}


def test_a_run_in_which_no_training_was_seen_says_so_at_its_end() -> None:
    simulation = supervised()
    simulation.feed(RunEnded("night", "finished", "exit code 0"))
    assert any("no training was seen" in line for line in simulation.messages)


def test_a_hook_that_is_switched_off_is_an_alert_and_stands_in_the_summary_until_the_next_generation() -> None:
    simulation = supervised(started=True)
    trouble = HookTrouble(
        0.0, "guard step", "RuntimeError: no such function", True, "a bad step is not skipped any more"
    )
    simulation.send(trouble)
    simulation.send(trouble)
    alerts = [alert for alert in simulation.alerts if alert.kind == "unwatched"]
    assert len({alert.id for alert in alerts}) == 1
    assert alerts[0].severity == "critical"
    found = summary_of(simulation.run, simulation.run.training, None, simulation.now_s)
    assert "Not watched in full: a bad step is not skipped any more." in found.now
    simulation.restart()
    assert simulation.run.training.unwatched == {}
