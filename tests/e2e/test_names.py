"""Names and titles that would do harm, were they pasted into a path, a line, a page or a label."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.night_run import Daemon, NightRun, says_one_sentence, trainwarden
from tests.harness.webhook import Post

HOSTILE = '../../x\n<img onerror=1> {{7*7}} "quote" | `tick` \x1b[31mred'


@pytest.mark.parametrize("name", ["../../x", "a\nb", "/etc/x", "a b", ".", "-x", "x" * 65, "\x1b[31mred"])
def test_a_run_name_that_is_none_is_refused_in_one_sentence_and_starts_nothing(name: str, home: Path) -> None:
    marker = home / "was-started"
    said = says_one_sentence(
        trainwarden(
            home, "run", f"--run={name}", "--port", "0", "--", sys.executable, "-c", f"open({str(marker)!r},'w')"
        ),
        78,
    )
    assert "\x1b" not in said
    assert not marker.exists()
    assert list(home.rglob("run.json")) == []


def test_a_hostile_title_works_and_is_inert_everywhere(home: Path, checkpoints: Path, post: Post) -> None:
    run = NightRun(home, checkpoints, hook_url=post.url, options=["--title", HOSTILE])
    assert run.wait() == 0, run.shown
    post.expect("incident_opened", "rolled_back", "resolved")
    assert not (home.parent / "x").exists()
    _is_inert_on_the_terminal(run.shown.replace("\x1b[K", ""))
    for command in (("status",), ("status", run.run), ("checkpoints", run.run)):
        shown = trainwarden(home, *command)
        assert shown.returncode == 0, shown.stderr
        _is_inert_on_the_terminal(shown.stdout)
    report = trainwarden(home, "report", run.run).stdout
    assert "onerror" in report, "the title is told"
    assert "<img" not in report
    assert "\x1b" not in report
    for body in post.taken.values():
        assert "onerror" in body["data"]["title"], "the title is told"


def _is_inert_on_the_terminal(shown: str) -> None:
    assert "\x1b" not in shown
    assert not any(line.lstrip().startswith("<img") for line in shown.splitlines()), "it began a line of its own"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not here")
def test_the_metrics_of_a_run_with_a_hostile_title_are_sound(home: Path, checkpoints: Path) -> None:
    run = NightRun(home, checkpoints, "--bad", "", "--epochs", "1", options=["--title", HOSTILE])
    assert run.wait() == 0, run.shown
    exposed = Daemon(home).metrics()
    assert r"\n<img onerror=1>" in exposed
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
