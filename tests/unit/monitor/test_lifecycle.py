"""The life of an incident: its table is complete, and nothing leaves the table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.model import Incident, IncidentState, Position, Severity
from monitor.core.policy.lifecycle import TABLE, Impossible, IncidentEvent, after

AT = Position(1, 4, 32, 300)


def test_every_state_says_what_comes_of_every_event() -> None:
    assert set(TABLE) == set(IncidentState)
    for state, row in TABLE.items():
        assert set(row) == set(IncidentEvent), state


@pytest.mark.parametrize(
    "state", [s for s in IncidentState if TABLE[s][IncidentEvent.OPERATOR] == IncidentState.HANDED_OVER]
)
def test_a_live_incident_can_always_be_ended_by_a_person_or_by_the_run(state: IncidentState) -> None:
    assert after(state, IncidentEvent.RUN_ENDED) is IncidentState.CLOSED
    assert after(state, IncidentEvent.RUN_VANISHED) is IncidentState.LOST


def test_what_can_not_happen_says_why() -> None:
    with pytest.raises(Impossible, match="nothing was ordered yet"):
        after(IncidentState.OPEN, IncidentEvent.APPLIED)


@given(st.lists(st.sampled_from(IncidentEvent), max_size=30))
def test_an_incident_that_is_over_stays_over(events: list[IncidentEvent]) -> None:
    """Whatever happens in whatever order, the state is one of the table's, and no way leads out of an end."""
    incident = Incident("r-i1", 1, "nonfinite", Severity.CRITICAL, IncidentState.OPEN, 0.0, AT, AT)
    ended = None
    for event in events:
        try:
            incident.state = after(incident.state, event)
        except Impossible:
            continue
        assert ended is None
        ended = None if incident.live else incident.state
