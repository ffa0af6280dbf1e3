"""`trainwarden policy`: what it prints is what the run will use."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from ruamel.yaml import YAML

from monitor.cli import execute
from monitor.cli.policy import read_policy
from monitor.core.policy.settings import Policy
from monitor.policyfile.load import PRESETS, PolicyFileError, policy_from_text, preset


def test_the_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["policy", "presets"]) == 0
    assert capsys.readouterr().out.split() == ["default", "observe", "strict", "rollback"]


def test_a_preset_that_was_printed_into_a_file_is_a_sound_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["policy", "show", "strict"]) == 0
    file = tmp_path / "policy.yaml"
    file.write_text(capsys.readouterr().out)
    assert execute(["policy", "check", str(file)]) == 0
    assert read_policy(str(file))[1] == read_policy("strict")[1]


def test_the_effective_policy_shows_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("rollback:\n  budget: 7\n")
    assert execute(["policy", "show", "--effective", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "budget: 7" in shown
    assert f"healthy_batches: {Policy().rollback.healthy_batches}" in shown


def test_a_typo_is_answered_with_file_line_key_and_the_nearest_valid_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nrollback:\n  buget: 3\n")
    assert execute(["policy", "check", str(file)]) == 78
    said = capsys.readouterr().err
    assert f"{file}:3:3: rollback.buget" in said
    assert "'budget'" in said or " budget" in said


def test_a_run_with_a_broken_policy_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, sign = tmp_path / "policy.yaml", tmp_path / "started"
    file.write_text("act: perhaps\n")
    assert execute(["run", "--policy", str(file), "--", "touch", str(sign)]) == 78
    assert "act" in capsys.readouterr().err
    assert not sign.exists()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(b"\xff\xfe\x00act")
    assert execute(["policy", "check", str(file)]) == 78
    assert "can't be read as text" in capsys.readouterr().err


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """What `policy schema` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert execute(["policy", "schema"]) == 0
    return cast("dict[str, Any]", json.loads(printed.getvalue()))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_by_the_schema_for_editors(name: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    document = YAML(typ="safe", pure=True).load(preset(name))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(document)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollback": {"buget": 3}},
        {"act": "perhaps"},
        {"detectors": {"loss_spike": {"ratio": 0.5}}},
        {"detectors": {"los_spike": {}}},
        {"version": 2},
    ],
)
def test_what_policy_check_refuses_is_invalid_by_the_schema_too(wrong: dict[str, Any], schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema, cls=jsonschema.Draft202012Validator)
    with pytest.raises(PolicyFileError):
        policy_from_text(json.dumps(wrong), "policy.yaml")


def test_the_schema_says_what_each_number_is_for_and_what_it_is_by_default(schema: dict[str, Any]) -> None:
    budget = schema["$defs"]["Rollback"]["properties"]["budget"]
    assert (budget["default"], budget["minimum"], budget["maximum"]) == (Policy().rollback.budget, 0, 100)
    assert "A run may spend this many rollbacks" in budget["description"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  budget: -1", "p.yaml:3:3: rollback.budget: -1 is too small; write one from 0 to 100"),
        ("  budget: 3.5", "p.yaml:3:3: rollback.budget: 3.5 is not a whole number; write one from 0 to 100"),
        ("  budget: many", "p.yaml:3:3: rollback.budget: 'many' is not a whole number; write one from 0 to 100"),
        ("  budget:", "p.yaml:3:3: rollback.budget: nothing is not a whole number; write one from 0 to 100"),
        ("  buget: 1", "p.yaml:3:3: rollback.buget: is not a key of rollback; did you mean 'budget'?"),
        ("  budget: 1\n  budget: 2", "p.yaml:4:3: key 'budget' is there twice; keep one of the two"),
        ("  budget: [1", "p.yaml:4:4: is not YAML (expected ',' or ']'"),
        ("  - 1", "p.yaml:2:1: rollback: the value is not a section; write keys indented below it: budget"),
    ],
)
def test_a_mistake_is_told_with_file_line_path_value_rule_and_remedy(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(f"version: 1\nrollback:\n{line}\nact: true\n")
    assert execute(["policy", "check", "p.yaml"]) == 78
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("written", ["address: 'nosuch://S3CRET@chat'", "address_file: {path}"])
def test_an_address_that_apprise_does_not_take_is_one_sentence_without_the_address(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("apprise")
    (tmp_path / "address").write_text("discord://S3CRET")
    (tmp_path / "address").chmod(0o600)
    policy = tmp_path / "p.yaml"
    receiver = f"- name: chat\n  kind: apprise\n  {written.format(path=tmp_path / 'address')}\n"
    policy.write_text(f"version: 1\nreceivers:\n{receiver}")
    assert execute(["policy", "check", str(policy)]) == 78
    shown = capsys.readouterr()
    assert (
        "receivers.0: receiver 'chat': address: Apprise does not take this address; write it as Apprise's wiki shows "
        "for the service"
    ) in shown.err
    assert "S3CRET" not in shown.err + shown.out
    policy.write_text("version: 1\nreceivers:\n- {name: chat, kind: apprise, address: 'json://127.0.0.1:9/S3CRET'}\n")
    assert execute(["policy", "check", str(policy)]) == 0
