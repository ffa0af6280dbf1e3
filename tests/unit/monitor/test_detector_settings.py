"""The section `detectors` of a policy, and what the core reads from it."""

from __future__ import annotations

import pytest

from monitor.core.detectors import Moment, load_all, register
from monitor.core.detectors.hang import HangConfig
from monitor.core.detectors.nonfinite_burst import NonfiniteBurstConfig
from monitor.core.detectors.nonfinite_rate import NonfiniteRateConfig
from monitor.core.model import Severity
from monitor.core.policy.settings import Detectors, Policy
from monitor.recorded.tuning.search_space import parameter, turned


def test_the_section_holds_the_settings_of_every_registered_detector() -> None:
    settings = Policy().detectors.by_name()
    assert {name: type(one) for name, one in settings.items()} == {name: one.config for name, one in load_all().items()}


def test_non_finite_batches_are_kept_for_the_longest_window_that_counts_them() -> None:
    assert Policy().detectors.nonfinite_history_batches() == 1000
    assert Detectors(nonfinite_rate=NonfiniteRateConfig(window_batches=5000)).nonfinite_history_batches() == 5000
    assert Detectors(nonfinite_burst=NonfiniteBurstConfig(window_batches=7000)).nonfinite_history_batches() == 7000


def test_a_changed_section_keeps_the_rest() -> None:
    section = Policy().detectors.changed({"hang": HangConfig(floor_s=5.0)})
    assert section == Detectors(hang=HangConfig(floor_s=5.0))


def test_a_change_of_no_detector_is_refused() -> None:
    with pytest.raises(KeyError, match="no detector is named hangs"):
        Policy().detectors.changed({"hangs": HangConfig()})


def test_a_name_that_is_taken_is_refused() -> None:
    hang = load_all()["hang"]
    with pytest.raises(ValueError, match=r"detector 'hang': monitor\.core\.detectors\.hang and .* rename one"):
        register("hang", HangConfig, hang.family, Moment.TICK, at_most=Severity.WARNING)(hang.detector)


def test_values_of_a_search_that_exclude_each_other_switch_their_detector_off() -> None:
    """Each is allowed beside the default of the other; a policy with both would be refused."""
    policy = Policy()
    tried = [
        parameter(policy, "nonfinite_burst", name, [value]) for name, value in (("count", 80), ("window_batches", 50))
    ]
    changed = turned(policy, tried, (80, 50))
    assert Policy.model_validate_json(changed.model_dump_json()) == changed
    assert not changed.detectors.by_name()["nonfinite_burst"].enabled
