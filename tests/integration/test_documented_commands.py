"""Every command in a block of the README and of docs/ is run as it stands there, and does what it is there for.

The names of the examples are made true: three runs, a policy, logs. What follows `--` is replaced by a script that ends
at once, since yolo and torchrun need more than a test has.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.architecture.test_documents import ROOT
from tests.harness.finished import lay_down
from tests.harness.night_run import fresh_home, trainwarden
from tests.harness.real_daemon import DaemonProcess
from tests.harness.report_inputs import rolled_back

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NIGHTS = ("night-3f2a", "day-77b0", "yolo-night")
ELSEWHERE = {  # what takes long, asks or draws has a test of its own
    "demo": "tests/e2e/test_demo.py",
    "alerts setup": "tests/e2e/test_alert_setup.py",
    "top": "tests/integration/test_top.py",
    "resume": "tests/e2e/test_resume.py",
}
FOUND_SOMETHING = {"backtest --run night-3f2a --policy strict"}  # exit code 1: the run had NaN
FILES = {
    "report night-3f2a -o night.html": "night.html",
    "backtest --junit report.xml --fail-on warning logs/": "report.xml",
}
LOG = "epoch,train/box_loss,train/cls_loss,train/dfl_loss\n" + "".join(
    f"{epoch},{2 - epoch / 50:.3f},{1.5 - epoch / 60:.3f},{1.1 - epoch / 90:.3f}\n" for epoch in range(1, 31)
)
POLICY = "version: 1\nreceivers:\n- {name: phone, kind: webhook, url: '%s'}\n"


def blocks(text: str) -> Iterator[str]:
    """Blocks of code that are for a shell."""
    yield from re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    yield from re.findall(r"^    (\S.*)$", text, re.MULTILINE)


def documented() -> list[str]:
    """Each command once, without the program's own name, comments and what follows `--`."""
    found = {}
    for document in DOCUMENTS:
        for block in blocks(document.read_text()):
            for line in re.findall(r"^trainwarden ([a-z].*)$", block, re.MULTILINE):
                found[re.sub(r"\s+#.*| -- .*", "", line).strip()] = None
    return [line for line in found if not line.startswith(tuple(ELSEWHERE))]


@dataclass
class Place:
    """A folder in which the examples are true, a daemon that knows their runs, and the receiver `phone`."""

    home: Path
    folder: Path
    phone: HTTPServer

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(line.replace("RUN", NIGHTS[0]))
        if words[0] == "run":
            words += ["--", sys.executable, "train.py"]
        expanded = [str(path) for word in words for path in (sorted(self.folder.glob(word)) if "*" in word else [word])]
        return trainwarden(self.home, *expanded, cwd=self.folder)


@pytest.fixture(scope="module")
def place(make_httpserver: HTTPServer) -> Iterator[Place]:
    make_httpserver.expect_request("/phone").respond_with_data("", 204)
    with fresh_home() as home, fresh_home() as folder:
        simulation = rolled_back(start_s=time.time() - 3600.0)  # older ones leave the daemon
        for name in NIGHTS:
            lay_down(home, simulation, name)
        for path in ("runs/detect/train/results.csv", "logs/a.csv"):
            (folder / path).parent.mkdir(parents=True)
            (folder / path).write_text(LOG)
        (folder / "labels.csv").write_text("path,label\nlogs/a.csv,healthy\n")
        (folder / "train.py").write_text("print('trained')\n")
        for policy in (home / "policy.yaml", folder / "policy.yaml"):
            policy.write_text(POLICY % make_httpserver.url_for("/phone"))
            policy.chmod(0o600)
        with DaemonProcess(home):
            yield Place(home, folder, make_httpserver)


def test_what_is_run_elsewhere_has_its_test() -> None:
    assert all((ROOT / path).exists() for path in ELSEWHERE.values())
    assert len(documented()) > 15


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_does_what_it_says(place: Place, line: str) -> None:
    if line.startswith("silence expire"):
        listed = place.run("silence add --for 1h run=none").stdout
        line = f"silence expire {listed.split()[1].rstrip(':')}"
    done = place.run(line)
    assert done.returncode == (1 if line in FOUND_SOMETHING else 0), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if line.startswith("run"):
        assert "trained" in done.stdout
    elif line == "alerts test phone":
        assert [request.path for request, _ in place.phone.log].count("/phone") == 1
    elif line in FILES:
        assert (place.folder / FILES[line]).stat().st_size > 100
    else:
        assert done.stdout.strip()


PRELUDE = """
import torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
scaler, longest, epoch, state = None, 4, 1, model.state_dict()
loader = [torch.ones(8, 4)] * 3
evaluate = lambda model: None
loss = (model(loader[0]) ** 2).mean()
loss.backward()
"""


@pytest.mark.parametrize(("document", "batches"), [("README.md", 1), ("docs/loops.md", 9)])
def test_the_lines_for_a_loop_of_your_own_are_watched(place: Place, document: str, batches: int) -> None:
    pytest.importorskip("torch")
    lines = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)[0]
    assert "integrations.plain import watch" in lines
    (place.folder / "loop.py").write_text(PRELUDE + lines)
    name = Path(document).stem.lower()
    done = trainwarden(place.home, "run", "--run", name, "--", sys.executable, "loop.py", cwd=place.folder)
    assert done.returncode == 0, done.stderr
    (shown,) = [run for run in json.loads(place.run("status --json").stdout) if run["run"] == name]
    assert shown["batches"] == batches
