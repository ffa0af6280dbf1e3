"""Strengthening: absolute values, once per incident, never below a floor, never a raise."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.model.frameworks import framework_named
from monitor.core.policy.settings import Strengthen
from monitor.core.policy.strengthen import changes, current, strengthen
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import TrainingStarted
from trainer_hooks.wire.plan import Change, GroupSettings, Settings

USER = Settings(
    groups=(
        GroupSettings(name="weight", base_rate=0.01, rate_max=None, weight_decay=0.0005),
        GroupSettings(name="bias", base_rate=0.01, rate_max=0.0403, weight_decay=0.0),
    ),
    clip_norm=10.0, momentum=0.9, ramp_batches=0, warmup_epochs=5.0, learning_rate=0.01, weight_decay=0.0005,
)  # fmt: skip
TRAINING = TrainingStarted(
    0.0, "ultralytics", {}, {}, (), ("weight", "bias"), (0.01, 0.01), 50, 1, 100, 1, 1, "", "", 1, "cpu", ""
)


def test_the_defaults_are_those_of_the_night() -> None:
    new = strengthen(USER, USER, Strengthen(), TRAINING, restart=True, epochs_left=47)
    assert (new.learning_rate, new.clip_norm, new.warmup_epochs, new.momentum, new.weight_decay) == (
        0.005,
        5.0,
        pytest.approx(9.7),
        0.85,
        0.001,
    )
    assert [g.base_rate for g in new.groups] == [0.005, 0.005]
    assert [g.weight_decay for g in new.groups] == [0.001, 0.0]
    assert new.ramp_batches == 470


def test_an_adjustment_in_place_changes_rate_and_clip_alone() -> None:
    new = strengthen(USER, USER, Strengthen(), TRAINING, restart=False, epochs_left=47)
    same = msgspec.structs.replace(new, learning_rate=0.01, clip_norm=10.0, groups=USER.groups)
    assert same == USER
    assert (new.learning_rate, new.clip_norm) == (0.005, 5.0)


def test_a_warm_up_never_takes_more_than_a_tenth_of_what_is_left() -> None:
    new = strengthen(USER, USER, Strengthen(), TRAINING, restart=True, epochs_left=4)
    assert (new.ramp_batches, new.warmup_epochs) == (40, 5.4)


@given(st.integers(1, 12), st.floats(0.05, 1.0), st.floats(0.01, 1.0))
def test_many_incidents_never_go_below_the_floor_and_never_raise_anything(
    incidents: int, factor: float, floor: float
) -> None:
    rules = Strengthen(learning_rate=factor, clip_norm=factor, floor=floor)
    now = USER
    for _ in range(incidents):
        new = strengthen(now, USER, rules, TRAINING, restart=True, epochs_left=40)
        assert new.learning_rate <= now.learning_rate
        assert new.clip_norm <= now.clip_norm
        assert new.learning_rate >= min(floor * USER.learning_rate, now.learning_rate) * (1 - 1e-9)
        assert new.groups[0].base_rate == pytest.approx(new.learning_rate)
        now = new


def test_the_settings_in_force_are_read_under_the_names_that_the_framework_gives_them() -> None:
    """A training that has not told its clip uses the one that its framework clips at."""
    framework = framework_named("ultralytics")
    names = framework.settings
    told = {names.learning_rate: "0.02", names.momentum: "0.937", names.weight_decay: "0.001", names.warmup_epochs: "3"}
    training = msgspec.structs.replace(TRAINING, settings=told)
    now = current(TrainingState(1), training)
    assert (now.learning_rate, now.momentum, now.weight_decay, now.warmup_epochs) == (0.02, 0.937, 0.001, 3.0)
    assert now.clip_norm == framework.clip_norm


def test_a_change_of_the_rate_is_told_under_the_name_that_the_framework_gives_it() -> None:
    new = strengthen(USER, USER, Strengthen(), TRAINING, restart=True, epochs_left=47)
    name = framework_named(TRAINING.framework).settings.learning_rate
    assert [c for c in changes(USER, new, TRAINING) if name in c.setting] == [
        Change(setting=f"learning rate ({name})", old="0.01", new="0.005")
    ]


def test_bias_warm_up_and_colours_are_weakened_only_where_the_policy_asks_for_it() -> None:
    own = msgspec.structs.replace(TRAINING, settings={"warmup_bias_lr": "0.1", "hsv_h": "0.015", "hsv_s": "0.7"})
    usual = strengthen(USER, USER, Strengthen(), own, restart=True, epochs_left=40)
    assert usual.more == {}
    rules = Strengthen(warmup_bias_rate=0.5, colour_augmentation=0.0)
    weaker = strengthen(USER, USER, rules, own, restart=True, epochs_left=40)
    assert weaker.more == {"warmup_bias_lr": 0.05, "hsv_h": 0.0, "hsv_s": 0.0}
    assert strengthen(USER, USER, rules, own, restart=False, epochs_left=40).more == {}
    told = {change.setting: (change.old, change.new) for change in changes(USER, weaker, own)}
    assert told["warmup_bias_lr"] == ("0.1", "0.05")
    assert told["hsv_s"] == ("0.7", "0")
