"""A detector is one file in the folder and a module with its fault; nothing else names it.

Both files are the ones that CONTRIBUTING.md shows.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = "The loss may be this far from seven. The default finds nothing but seven itself."
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
    "schema": json.loads(schema_text())["$defs"]["SevenConfig"]["properties"]["distance"],
    "read": policy_from_text("detectors: {seven: {distance: 5.0}}", "p").detectors.by_name()["seven"].distance,
    "refused": refused("detectors: {seven: {distance: -1}}"),
    "default": preset("default"),
    "strict": preset("strict"),
    "docs": with_tables(open("docs/detection.md").read()),
    "found": stream.found,
}))
"""


def shown(path: str) -> str:
    """The code of that file, as CONTRIBUTING.md shows it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(rf"```python\n# {re.escape(path)}\n(.*?)```", text, re.DOTALL)
    assert found, f"CONTRIBUTING.md does not show {path}"
    return found[1]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a fresh process knows with two files more: a detector's and its fault's."""
    detectors, faults = tmp_path_factory.mktemp("detectors"), tmp_path_factory.mktemp("faults")
    (detectors / "seven.py").write_text(shown("monitor/core/detectors/seven.py"))
    (faults / "seven.py").write_text(shown("tests/contracts/detector_faults/seven.py"))
    command = [sys.executable, "-c", SEEN, str(detectors), str(faults)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_policy_has_its_section_and_refuses_what_it_does_not_take(seen: dict[str, object]) -> None:
    assert seen["policy"] == {"enabled": True, "distance": 0.0}
    assert seen["read"] == 5.0
    assert seen["refused"] == "p:1:21: detectors.seven.distance: -1 is too small; write one from 0"


def test_the_schema_describes_its_settings(seen: dict[str, object]) -> None:
    assert seen["schema"] == {
        "default": 0.0,
        "description": DESCRIPTION,
        "minimum": 0,
        "title": "Distance",
        "type": "number",
    }


def test_the_presets_carry_it(seen: dict[str, object]) -> None:
    assert "  # The loss is exactly seven. It informs;" in str(seen["default"])
    assert f"    # {DESCRIPTION}\n    distance: 0.0\n" in str(seen["default"])
    assert "  seven:\n    # Losses near seven are found too.\n    distance: 0.1\n" in str(seen["strict"])


def test_the_documentation_has_its_rows(seen: dict[str, object]) -> None:
    assert "| `seven` | The loss is exactly seven. | It informs;" in str(seen["docs"])
    assert f"| `seven.distance` | a number from 0 | `0.0` | {DESCRIPTION} |" in str(seen["docs"])


def test_the_core_asks_it_and_the_contract_suite_finds_its_fault(seen: dict[str, object]) -> None:
    assert seen["found"] == {"seven/info": 1}
