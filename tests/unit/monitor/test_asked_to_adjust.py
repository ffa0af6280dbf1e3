"""A person asks for other settings in place. Nothing was wrong, so nothing more is done, whatever comes of it."""

from __future__ import annotations

import pytest

from monitor.core.model import ActionKind, CommandGiven, CommandKind, Family, IncidentState
from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import WhenClean
from monitor.core.summary import what_happened
from tests.harness.script import POLICY, RUN, Script


@pytest.fixture(params=[WhenClean.ROLLBACK, WhenClean.ADJUST, WhenClean.STOP])
def script(request: pytest.FixtureRequest) -> Script:
    """A training in its second epoch, with a clean checkpoint to go back to."""
    made = Script(Policy.model_validate(POLICY.model_dump() | {"when_clean": request.param}))
    made.start(1)
    made.batches(1, 100)
    made.saved(1, 1)
    made.batches(1, 20)
    return made


def ask(script: Script) -> None:
    script.take(script.driver.feed(CommandGiven(RUN, CommandKind.ADJUST, "ann")))


def test_the_settings_are_changed_in_place_once_and_training_goes_on(script: Script) -> None:
    ask(script)
    [order], [plan] = script.orders("adjust"), script.plans
    [incident] = script[1].ledger.incidents
    assert (incident.family, incident.action.kind) == (Family.OPERATOR, ActionKind.ADJUST)
    [rate] = [change for change in plan.changes if change.setting.startswith("learning rate")]
    assert float(rate.new) < float(rate.old)
    script.answer(1, order)
    assert script[1].ledger.in_force == plan.settings
    for _ in range(40):
        script.batches(1, 20)
        script.tick(5.0)
    assert not incident.live
    assert (script.orders("adjust"), script.orders("stop"), script.plans) == ([order], [], [plan])
    assert "ann asked for other settings" in script.said


def test_a_trainer_that_can_not_change_them_trains_on_as_before(script: Script) -> None:
    ask(script)
    script.answer(1, script.orders("adjust")[0], "refused")
    for _ in range(40):
        script.batches(1, 20)
        script.tick(5.0)
    assert script[1].ledger.in_force is None
    assert script.orders("stop") == []
    assert len(script.plans) == 1
    assert script[1].incident is None


def test_an_incident_that_is_open_is_left_to_its_own_action(script: Script) -> None:
    ask(script)
    script.answer(1, script.orders("adjust")[0])
    ask(script)
    assert len(script[1].ledger.incidents) == len(script.plans) == 1
    assert "cannot adjust: incident 1 is open" in script.said


def test_damage_after_it_is_an_incident_as_any_other(script: Script) -> None:
    ask(script)
    script.answer(1, script.orders("adjust")[0])
    script.batches(1, 20)
    script.batches(1, 6, damaged=True)
    assert script[1].incident is not None
    assert script[1].incident.state is IncidentState.MITIGATING
    assert script[1].incident.action.kind is ActionKind.ROLLBACK


def test_the_summary_says_what_was_asked_for(script: Script) -> None:
    ask(script)
    said = what_happened(script.driver.state, script[1], script[1].incident)
    assert said == "A person asked for other settings."
