"""CONTRIBUTING.md says what a change costs. Its examples are made in a copy of the code, file by file, and used there.

The example of a detector has a test of its own: tests/contracts/test_a_new_detector.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHING_ONLY = ROOT / "tests" / "contracts" / "watching_only"
WATCHING_LINES_MAX = 150
PACKAGES = ("monitor", "trainer_hooks", "alerts", "tests")
BLOCK = re.compile(r"```python\n# (?P<path>[\w/]+\.py)(?:, (?P<place>[^\n]+))?\n(?P<code>.*?)```", re.DOTALL)

# Where an example that is not a file of its own goes: before the line that this finds. Empty: at the end of the file.
PLACES = {
    "in GAUGES": r"^\)  # fmt: skip\n\nCOUNTERS",
    "above GAUGES": r"^GAUGES = \(",
    "in Api.endpoints": r"^        \]\n\n    # --- reads -",
    "in Api": r"^    # --- changes -",
    "at the end": "",
}
ASKED = """
import json, types
from starlette.testclient import TestClient
from monitor.daemon.api.endpoint import application
from monitor.daemon.api.routes import Api
from monitor.daemon.metrics import exposition
from tests.unit.monitor.test_metrics import _core, _exposed
from tests.unit.monitor.test_pipeline import batches, opening

core = _core(*opening(), *batches(5))
[run] = core.fleet.runs
api = Api(types.SimpleNamespace(core=core), None, None, None, None, None, None, None)
answer = TestClient(application(api.endpoints())).get(f"/api/v1/runs/{run}/progress")
print(json.dumps({
    "metric": [line for line in _exposed(core.fleet).splitlines() if line.startswith("trainwarden_epochs{")],
    "status": answer.status_code,
    "progress": answer.json(),
    "epoch": core.fleet.runs[run].training.position.epoch,
}))
"""


def shown() -> list[tuple[str, str, str]]:
    """Path, place in that file (empty: the file is new) and code of every example."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return [(found["path"], found["place"] or "", found["code"]) for found in BLOCK.finditer(text)]


def change(root: Path, path: str, place: str, code: str) -> None:
    """Make one change, as CONTRIBUTING.md shows it."""
    file = root / path
    if not place:
        assert not file.exists(), f"{path}: the example says that it is a new file"
        file.write_text(code)
        return
    text = file.read_text()
    found = re.search(PLACES[place], text, re.MULTILINE) if PLACES[place] else re.search(r"\Z", text)
    assert found, f"{path}: there is no place {place!r} any more; write in CONTRIBUTING.md and here where it goes now"
    file.write_text(text[: found.start()] + code + text[found.start() :])


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with every example in it."""
    root = tmp_path_factory.mktemp("changed")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for path, place, code in shown():
        change(root, path, place, code)
    shutil.copytree(WATCHING_ONLY / "rounds", root / "trainer_hooks" / "integrations" / "rounds")
    shutil.copy(WATCHING_ONLY / "sample.py", root / "tests" / "contracts" / "samples" / "integration_rounds.py")
    return root


def run(root: Path, *arguments: str) -> str:
    """What Python prints there. The test fails where it fails."""
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contract(root: Path, suite: str, name: str) -> str:
    """The last line of a contract suite's run for one plug-in."""
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/contracts/{suite}.py", "-k", name)
    return run(root, *arguments).splitlines()[-1]


@pytest.fixture(scope="module")
def answers(changed: Path) -> dict[str, object]:
    """What the changed code answers."""
    return dict(json.loads(run(changed, "-c", ASKED)))


def files_of(*names: str) -> set[str]:
    """The files of the product that an example changes, out of those with one of these words in their path."""
    return {path for path, _, _ in shown() if not path.startswith("tests/") and any(name in path for name in names)}


def test_a_metric_is_a_row_of_one_table(answers: dict[str, object]) -> None:
    assert files_of("metrics") == {"monitor/daemon/metrics/table.py"}
    [line] = answers["metric"]  # type: ignore[misc]
    assert re.fullmatch(r'trainwarden_epochs\{run="\w+"\} \d+\.0', line)


def test_a_get_route_is_two_files(answers: dict[str, object]) -> None:
    assert files_of("api") == {"monitor/daemon/api/snapshots.py", "monitor/daemon/api/routes.py"}
    assert answers["status"] == 200
    assert answers["progress"] == {"epoch": answers["epoch"], "batch": 4}


def test_a_log_format_is_one_file_and_keeps_the_contract_of_importers(changed: Path) -> None:
    assert files_of("importers") == {"monitor/recorded/importers/fasttext_stdout.py"}
    assert re.search(r"\b\d\d passed", contract(changed, "test_importers", "fasttext_stdout"))


def test_a_notifier_is_one_file_and_keeps_the_contract_of_notifiers(changed: Path) -> None:
    assert files_of("alerts") == {"alerts/notifiers/plain_text.py"}
    assert re.search(r"\b\d\d passed", contract(changed, "test_notifiers", "plain_text"))


def test_an_integration_that_only_watches_is_a_small_folder_and_keeps_the_contract_of_integrations(
    changed: Path,
) -> None:
    files = sorted((WATCHING_ONLY / "rounds").glob("*.py"))
    assert [file.name for file in files] == ["__init__.py", "framework.py", "watcher.py"]
    assert sum(len(file.read_text().splitlines()) for file in files) <= WATCHING_LINES_MAX
    pytest.importorskip("torch")
    assert re.search(r"\b\d passed", contract(changed, "test_integrations", "rounds"))


def test_every_file_that_the_table_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("## What one change costs") : text.index("## A detector")]
    named = set(re.findall(r"`((?:monitor|trainer_hooks|alerts|tests)/[\w/.]+)`", table))
    assert len(named) > 10
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
