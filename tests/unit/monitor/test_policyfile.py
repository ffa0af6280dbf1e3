"""A policy file is taken whole, or every mistake in it is told at once: where, value, rule, remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from monitor.core.model.section import InPreset, Section
from monitor.core.policy.settings import Policy, Watch
from monitor.policyfile.load import PRESETS, PolicyFileError, effective_yaml, load_policy, policy_from_text, preset

TOKEN = "https://hooks.example.org/T0K3N"
NEVER = "200 in 100 batches can't happen"
FEW = "3 in 2 batches can't happen"
NO_ROOM = "0.5 is not below high (0.1), so every step is outside"


def mistakes(text: str) -> list[str]:
    """The lines of the error that a text must give."""
    with pytest.raises(PolicyFileError) as caught:
        policy_from_text(text, "policy.yaml")
    assert TOKEN not in str(caught.value)
    assert "T0K3N" not in repr(caught.value)
    return str(caught.value).splitlines()


def test_the_default_preset_is_the_models_defaults_and_names_every_key() -> None:
    assert policy_from_text(preset("default"), "default") == Policy()
    written = YAML(typ="safe").load(preset("default"))
    assert _keys(written) == _keys(Policy().model_dump())


def _keys(tree: object, above: str = "") -> set[str]:
    if not isinstance(tree, dict):
        return {above}
    return {key for name, value in tree.items() for key in _keys(value, f"{above}.{name}")}


def test_every_setting_of_the_default_preset_stands_below_its_description() -> None:
    """All but the switches `enabled`, which would be described 34 times."""
    lines = preset("default").splitlines()
    settings = [
        at for at, line in enumerate(lines) if re.match(r" *[a-z_]+: ", line) and "enabled" not in line and at > 5
    ]
    assert len(settings) > 80
    assert all(lines[at - 1].lstrip().startswith("# ") for at in settings)


def test_the_commented_webhook_of_the_default_preset_is_a_sound_one() -> None:
    lines = preset("default").splitlines()
    start = lines.index("webhooks: []")
    example = "\n".join(["webhooks:", *(line.removeprefix("#") for line in lines[start + 1 :])])
    (webhook,) = policy_from_text(example, "example").webhooks
    assert (webhook.name, webhook.timeout_s) == ("ops", 10.0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_writes_every_value_that_the_models_state_for_it(name: str) -> None:
    """The written policy is the default one with exactly the values in the fields' annotations."""
    document = YAML(typ="safe").load(preset(name))
    stated = _stated(Policy(), name)
    assert stated.items() <= _leaves(document).items()
    if name != "default":
        assert _leaves(document) == stated | {"version": 1}


def _stated(section: Section, preset_name: str, above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            found |= _stated(value, preset_name, f"{above}{name}.")
        found |= {
            f"{above}{name}": c.value for c in field.metadata if isinstance(c, InPreset) and c.preset == preset_name
        }
    return found


def _leaves(tree: dict[str, object], above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= _leaves(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def test_observe_differs_from_the_default_only_in_that_it_never_acts() -> None:
    assert policy_from_text(preset("observe"), "observe") == Policy(act=False)


def test_strict_acts_sooner_and_believes_later_than_the_default() -> None:
    strict, default = policy_from_text(preset("strict"), "strict"), Policy()
    assert strict.act
    assert strict.detectors.nonfinite_burst.count == 2
    assert strict.detectors.nonfinite_rate.rate < default.detectors.nonfinite_rate.rate
    assert strict.rollback.healthy_batches > default.rollback.healthy_batches
    assert strict.watch.batches_min > default.watch.batches_min


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_in_a_preset_stands_beside_its_reason(name: str) -> None:
    assert preset(name).count("#") >= 3
    assert policy_from_text(preset(name), name).version == 1


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(PolicyFileError, match=r"preset 'observ': there is none; did you mean 'observe'\?"):
        preset("observ")


def test_an_empty_file_is_the_default_policy() -> None:
    assert policy_from_text("", "policy.yaml") == Policy()
    assert policy_from_text("# nothing yet\n", "policy.yaml") == Policy()


def test_every_mistake_is_told_in_the_order_of_the_file() -> None:
    rollback = "rollback:\n  # how often\n  budget: three\n  grace_s: -1\n  cool_down_batches: 1.5\n"
    text = f"act: no\n{rollback}strengthen:\n  momentum: 1.5\n"
    assert mistakes(text) == [
        "policy.yaml:1:1: act: 'no' is not true or false; write true or false",
        "policy.yaml:4:3: rollback.budget: 'three' is not a whole number; write one from 0 to 100",
        "policy.yaml:5:3: rollback.grace_s: -1 is too small; write one above 0",
        "policy.yaml:6:3: rollback.cool_down_batches: 1.5 is not a whole number; write one from 0",
        "policy.yaml:8:3: strengthen.momentum: 1.5 is too large; write one from 0 and below 1, or null",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rollback:\n  bugdet: 1\n", "policy.yaml:2:3: rollback.bugdet: is no key of rollback; did you mean 'budget'?"),
        ("grace_s: 2\n", "policy.yaml:1:1: grace_s: is no key of a policy; 'grace_s' belongs below 'rollback'"),
        (
            "watch:\n",
            "policy.yaml:1:1: watch: nothing is not a section; write keys indented below it: "
            + ", ".join(Watch.model_fields),
        ),
        ("version: 2\n", "policy.yaml:1:1: version: 2 is not 1; write 1"),
        ("act: true\nact: false\n", "policy.yaml:2:1: key 'act' is there twice; keep one of the two"),
        (
            "rollback: {budget: true}\n",
            "policy.yaml:1:12: rollback.budget: True is not a whole number; write one from 0 to 100",
        ),
        (
            "rollback: {grace_s: .inf}\n",
            "policy.yaml:1:12: rollback.grace_s: inf is no number to reckon with; write a finite one",
        ),
        ("1: 2\n", "policy.yaml:1:1: (the whole file): 1 is no key; keys are words"),
        (
            "detectors:\n  nonfinite_burst: {count: 200}\n",
            f"policy.yaml:2:21: detectors.nonfinite_burst.count: {NEVER}; write at most 100, or raise window_batches",
        ),
        (
            "detectors:\n  nonfinite_rate:\n    window_batches: 100\n    count_min: 200\n",
            f"policy.yaml:4:5: detectors.nonfinite_rate.count_min: {NEVER}; write at most 100, or raise window_batches",
        ),
        (
            "detectors:\n  loss_scale: {window_batches: 2}\n",
            f"policy.yaml:2:3: detectors.loss_scale.falls: {FEW}; write at most 2, or raise window_batches",
        ),
        (
            "detectors:\n  update_ratio: {low: 0.5}\n",
            f"policy.yaml:2:18: detectors.update_ratio.low: {NO_ROOM}; write a smaller number",
        ),
    ],
)
def test_a_mistake_says_where_what_rule_and_remedy(text: str, line: str) -> None:
    assert mistakes(text) == [line]


def test_a_contradiction_is_listed_with_every_other_mistake() -> None:
    text = "act: perhaps\ndetectors:\n  nonfinite_burst: {count: 200}\n"
    assert [line.split(": ")[1] for line in mistakes(text)] == ["act", "detectors.nonfinite_burst.count"]


@pytest.mark.parametrize(
    "text", ["act: [", "a: b: c", "\tact: true", "--- 1\n--- 2\n", "a: *nobody", "act: true\n  x: 1"]
)
def test_what_is_no_yaml_names_line_and_column(text: str) -> None:
    (line,) = mistakes(text)
    assert line.startswith(("policy.yaml:1:", "policy.yaml:2:"))
    assert "is no YAML" in line


@pytest.mark.parametrize("text", ["- 1\n", "just words\n", "42\n"])
def test_a_file_that_is_no_section_lists_the_keys(text: str) -> None:
    assert "write keys indented below it: version, act, detectors" in mistakes(text)[0]


def test_values_that_may_be_addresses_are_never_shown() -> None:
    """A URL often holds a token; whatever is wrong with it or near it, only its place is told."""
    assert "is not a list" in mistakes(f"webhooks: {TOKEN}\n")[0]
    assert "is not a section" in mistakes(f"webhooks:\n  - {TOKEN}\n")[0]
    assert "is no key of webhooks.0" in mistakes(f"webhooks:\n  - url: {TOKEN}\n    adress: {TOKEN}\n")[0]
    assert "'url' is there twice" in mistakes(f"webhooks:\n  - url: {TOKEN}\n    url: {TOKEN}\n")[0]
    assert "begin with https://" in mistakes("webhooks:\n  - url: hooks.example.org/T0K3N\n")[0]
    assert "is not a text" in mistakes(f"webhooks:\n  - url: [{TOKEN}]\n")[0]


def test_a_webhook_without_a_url_is_told_at_the_webhook() -> None:
    assert mistakes("webhooks:\n  - name: ops\n") == ["policy.yaml:2:5: webhooks.0.url: is missing; write a text"]


def test_webhooks_of_one_name_and_relative_secret_files_are_refused() -> None:
    text = f"webhooks:\n  - url: {TOKEN}\n    name: a\n  - url: {TOKEN}\n    name: a\n    secret_file: x.key\n"
    assert [line.split(": ", 2)[1] for line in mistakes(text)] == [
        "webhooks.0.name",
        "webhooks.1.name",
        "webhooks.1.secret_file",
    ]


def test_few_lines_that_stand_for_billions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]
    assert "repeats itself through aliases" in mistakes("\n".join(lines))[0]


def test_a_tag_makes_nothing(tmp_path: Path) -> None:
    """YAML tags that other loaders obey are plain text here."""
    canary = tmp_path / "canary"
    assert mistakes(f'act: !!python/object/apply:os.system ["touch {canary}"]\n')
    assert not canary.exists()


def test_a_file_that_is_not_there_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match=r"can't be read \(No such file or directory\); check the path"):
        load_policy(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"act: \xff\n")
    with pytest.raises(PolicyFileError, match="is no UTF-8 text"):
        load_policy(path)


def test_a_file_is_read_with_its_path_in_the_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("rollback:\n  budget: 1e1\n")
    with pytest.raises(PolicyFileError) as caught:
        load_policy(path)
    assert str(caught.value).startswith(f"{path}:2:3: rollback.budget: 10.0 is not a whole number")
    path.write_text("rollback:\n  budget: 1\n")
    assert load_policy(path).rollback.budget == 1


def test_the_effective_policy_shows_every_key_and_no_secret() -> None:
    policy = policy_from_text(f"webhooks:\n  - url: {TOKEN}\n", "policy.yaml")
    text = effective_yaml(policy)
    assert "T0K3N" not in text
    assert "secret_file: null" in text
    shown = YAML(typ="safe").load(text)
    assert shown["strengthen"] == Policy().strengthen.model_dump()
