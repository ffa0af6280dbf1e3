"""Runs of the plain training, from the outside: `trainwarden` as a user types it, and the daemon's process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from monitor.supervisor.process import environment
from tests.harness.supervisor import WAIT_S, eventually
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Generation
from trainer_hooks.wire.runfolder import ENV_HOME, RunFolder

ROOT = Path(__file__).resolve().parents[2]
RUN = "night"
CONSOLE = (sys.executable, "-c", "from _trainwarden import main; main()")
PLAIN_TRAINING = (sys.executable, "-m", "tests.harness.plain_training")
POLICY = """\
version: 1
when_clean: rollback
rollback: {redo_limit_epochs: 9, healthy_batches: 3, grace_s: 10}
strengthen: {warmup_epochs: 0}
watch: {batches_min: 20, onset_samples: false}
snapshots: {every_s: 0}
"""  # without snapshots: these nights are about new starts; tests/e2e/test_going_back.py is about those
WEBHOOK = """\
webhooks:
  - {name: people, url: "%s"}
"""


@contextlib.contextmanager
def fresh_home() -> Iterator[Path]:
    """A state home of its own, with a short path, since sockets lie below it; whatever still runs in it is killed."""
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    try:
        yield folder
    finally:
        while alive := processes_in(folder):
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):  # it ended by itself
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def processes_in(home: Path) -> list[int]:
    """Every live process that was started with this state home: supervisors, trainings and daemons."""
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    return [pid for pid in pids if _alive(pid) and environment(pid).get(ENV_HOME) == str(home) and pid != os.getpid()]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return False
    return state != "Z"


def environment_of_home(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user whose runs, store and sockets lie below `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWARDEN_")}
    return kept | {ENV_HOME: str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more


def trainwarden(home: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command of ours, to its end."""
    return subprocess.run(
        [*CONSOLE, *arguments],
        env=environment_of_home(home),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def says_one_sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a refused command says: one line on stderr, nothing on stdout, and the exit code."""
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("trainwarden: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


class Daemon:
    """The daemon of a home, as a process."""

    def __init__(self, home: Path) -> None:
        self._note = home / "run" / "daemon.json"

    def _said(self) -> dict[str, Any]:
        try:
            note: dict[str, Any] = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return {}
        return note

    def pid(self) -> int | None:
        """Its pid, while it lives."""
        pid = int(self._said().get("pid", 0))
        with contextlib.suppress(OSError):  # it is gone
            if _alive(pid) and b"monitor" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def signal(self, number: signal.Signals) -> int | None:
        """Returns the pid that got it, None where there was none."""
        pid = self.pid()
        try:
            if pid is not None:
                os.kill(pid, number)
        except ProcessLookupError:  # it ended by itself, as one does when its run is over
            return None
        return pid

    def kill(self) -> int | None:
        """SIGKILL; returns the pid it had, None where there was none."""
        return self.signal(signal.SIGKILL)

    def metrics(self) -> str:
        """What it exposes; empty where it does not answer."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._said().get('port', 0)}/metrics", timeout=5.0).text
        except httpx.HTTPError:
            return ""


class Scrapes:
    """Looks at /metrics again and again, whichever daemon answers, as a Prometheus does."""

    def __init__(self, daemon: Daemon, interval_s: float = 0.2) -> None:
        self._daemon, self._interval_s, self._next_s = daemon, interval_s, 0.0
        self.seen: list[tuple[int | None, dict[str, float]]] = []  # pid of the daemon, counters of its runs

    def look(self) -> None:
        """Scrape, if the time has come."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._interval_s
        pid = self._daemon.pid()
        if counters := counters_of_runs(self._daemon.metrics()):
            self.seen.append((pid, counters))

    @property
    def daemons(self) -> set[int | None]:
        return {pid for pid, _ in self.seen}

    def steps_back(self) -> list[str]:
        """Each counter that went back or was lost between two scrapes."""
        pairs = zip(self.seen, self.seen[1:], strict=False)
        return [
            f"{name}: {value:g} then {after.get(name)}, daemon {pid} then {next_pid}"
            for (pid, before), (next_pid, after) in pairs
            for name, value in before.items()
            if after.get(name, -1.0) < value
        ]


def counters_of_runs(text: str) -> dict[str, float]:
    """Every counter that has a run, by name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type == "counter" and sample.name.endswith("_total") and "run" in sample.labels
    }


class Supervised:
    """`trainwarden run` over a command, with its output in a file."""

    def __init__(
        self,
        home: Path,
        argv: Sequence[str],
        *,
        run: str = RUN,
        policy: str = POLICY,
        hook_url: str = "",
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
        cwd: Path = ROOT,
        **more: str,
    ) -> None:
        self.home, self.run, self._prefix, self._cwd, self._more = home, run, prefix, cwd, more
        self.folder = RunFolder(home / "runs" / run)
        self.log = home / f"{run}.log"
        file = home / f"{run}.yaml"
        file.write_text(policy + (WEBHOOK % hook_url if hook_url else ""))
        self.process = self._start("run", "--run", run, "--policy", str(file), "--port", "0", *options, "--", *argv)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [*self._prefix, *CONSOLE, *arguments],
                env=environment_of_home(self.home, **{"PYTHONPATH": str(ROOT)} | self._more),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_supervisor(self) -> int:
        """SIGKILL to `trainwarden run`; returns the pid it had."""
        assert self.process.poll() is None, self.shown
        self.process.kill()
        self.process.wait()
        return self.process.pid

    def adopt(self) -> None:
        """`trainwarden run --adopt`: from now on `process` is the new supervisor."""
        self.process = self._start("run", "--adopt", self.run, "--port", "0")

    def resume(self) -> None:
        """`trainwarden resume`: from now on `process` is the new supervisor."""
        self.process = self._start("resume", "--port", "0", self.run)

    @property
    def shown(self) -> str:
        """Everything on the terminal so far."""
        return self.log.read_text(errors="replace")

    def says(self, text: str) -> bool:
        return text in self.shown

    def until(self, what: str, holds: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
        """Wait for it. Fails with what the terminal shows, also when the run ends before."""

        def answer() -> Any:
            over = self.process.poll() is not None
            found = holds()
            assert found or not over, "the run is over"
            return found

        try:
            return eventually(what, answer, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {what}; the terminal shows:\n{self.shown}") from None

    def until_says(self, text: str) -> None:
        self.until(repr(text), lambda: self.says(text))

    def until_generation(self, number: int) -> Generation:
        """Its document, once it was started."""
        path = self.folder.generation(number)

        def started() -> Generation | None:
            found = read(path, Generation) if path.exists() else None
            return found if found and found.pid else None

        generation: Generation = self.until(f"generation {number}", started)
        return generation

    def wait(self, meanwhile: Callable[[], object] = lambda: None, timeout_s: float = 120.0) -> int:
        """The exit code."""

        def over() -> bool:
            meanwhile()
            return self.process.poll() is not None

        eventually("the end of the run", over, timeout_s)
        return int(self.process.returncode)


class NightRun(Supervised):
    """`trainwarden run` over the plain training; `training` are more arguments for it."""

    def __init__(
        self,
        home: Path,
        checkpoints: Path,
        *training: str,
        run: str = RUN,
        command: Sequence[str] = PLAIN_TRAINING,
        hook_url: str = "",
        options: Sequence[str] = (),
        cwd: Path = ROOT,
        **more: str,
    ) -> None:
        self.save_dir = home / f"training-{run}"
        where = ["--checkpoints", str(checkpoints), "--save-dir", str(self.save_dir)]
        argv = [*command, *where, *training]
        super().__init__(home, argv, run=run, hook_url=hook_url, options=options, cwd=cwd, **more)

    def plans(self) -> list[str]:
        return sorted(path.name for path in self.folder.root.glob("*plan-*.json"))

    def target_epoch(self) -> int:
        """The epoch that the plan of generation 2 goes back to."""
        plan = read(self.folder.plan(2), Plan)
        assert plan.checkpoint is not None
        return plan.checkpoint.epoch

    def rows(self) -> list[str]:
        """The epochs in results.csv."""
        return [row.split(",")[0] for row in (self.save_dir / "results.csv").read_text().splitlines()[1:]]
