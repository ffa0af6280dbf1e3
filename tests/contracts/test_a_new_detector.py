"""A detector is one file in the folder and a module with its fault; nothing else names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = '''
"""The loss is exactly seven."""

from typing import Annotated

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.model.section import InPreset, Preset
from monitor.core.state.view import RunView


class SevenConfig(DetectorConfig):
    """The loss is exactly seven."""

    batches: Annotated[int, InPreset(Preset.STRICT, value=1, reason="One batch is enough.")] = Field(
        2, ge=1, description="The loss must be seven for this many batches."
    )


@register("seven", SevenConfig, Moment.BATCH, at_most=Severity.INFO)
def seven(run: RunView, config: SevenConfig) -> Finding | None:
    loss = run.signal("loss")
    if loss is None or loss.last != 7.0:
        return None
    return run.finding(
        "seven", "loss", Severity.INFO, since=run.at, signal="loss", value=7.0, limit=float(config.batches), summary="7"
    )
'''
FAULT = """
from tests.contracts.detector_faults import fault_of


@fault_of("seven")
def sevens(stream, draw):
    stream.batch(7.0, 3.0)
"""
SEEN = """
import json, random, sys
import monitor.core.detectors as detectors
detectors.__path__.append(sys.argv[1])
import tests.contracts.detector_faults as faults
faults.__path__.append(sys.argv[2])
from monitor.core.policy.settings import Policy
from monitor.policyfile.load import policy_from_text, preset, schema_text, PolicyFileError
from monitor.policyfile.reference import with_tables
from tests.harness.streams import Stream, calm

def refused(text):
    try:
        policy_from_text(text, "p")
    except PolicyFileError as error:
        return str(error)

stream = Stream()
calm(stream, 10, random.Random(1))
faults.every_fault()["seven"](stream, random.Random(2))
print(json.dumps({
    "policy": Policy().model_dump(mode="json")["detectors"]["seven"],
    "schema": json.loads(schema_text())["$defs"]["SevenConfig"]["properties"]["batches"],
    "read": policy_from_text("detectors: {seven: {batches: 5}}", "p").detectors.by_name()["seven"].batches,
    "refused": refused("detectors: {seven: {batches: 0}}"),
    "default": preset("default"),
    "strict": preset("strict"),
    "docs": with_tables(open("docs/detection.md").read()),
    "found": stream.found,
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a fresh process knows with two files more: a detector's and its fault's."""
    detectors, faults = tmp_path_factory.mktemp("detectors"), tmp_path_factory.mktemp("faults")
    (detectors / "seven.py").write_text(TOY)
    (faults / "sevens.py").write_text(FAULT)
    command = [sys.executable, "-c", SEEN, str(detectors), str(faults)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_policy_has_its_section_and_refuses_what_it_does_not_take(seen: dict[str, object]) -> None:
    assert seen["policy"] == {"enabled": True, "batches": 2}
    assert seen["read"] == 5
    assert seen["refused"] == "p:1:21: detectors.seven.batches: 0 is too small; write one from 1"


def test_the_schema_describes_its_settings(seen: dict[str, object]) -> None:
    assert seen["schema"] == {
        "default": 2,
        "description": "The loss must be seven for this many batches.",
        "minimum": 1,
        "title": "Batches",
        "type": "integer",
    }


def test_the_presets_carry_it(seen: dict[str, object]) -> None:
    assert "  # The loss is exactly seven. It informs;" in str(seen["default"])
    assert "    # The loss must be seven for this many batches.\n    batches: 2\n" in str(seen["default"])
    assert "  seven:\n    # One batch is enough.\n    batches: 1\n" in str(seen["strict"])


def test_the_documentation_has_its_rows(seen: dict[str, object]) -> None:
    assert "| `seven` | The loss is exactly seven. | It informs;" in str(seen["docs"])
    assert "| `seven.batches` | a whole number from 1 | `2` | The loss must be seven" in str(seen["docs"])


def test_the_core_asks_it_and_the_contract_suite_finds_its_fault(seen: dict[str, object]) -> None:
    assert seen["found"] == {"seven/info": 1}
