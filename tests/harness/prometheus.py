"""Debian's Prometheus and Alertmanager on loopback, with the files of deploy/, and a history made of simulated runs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from monitor.core.engine import Core
from monitor.core.model import CheckpointExamined, Verdict
from monitor.daemon.hardware.reading import Device, Gpu, HostMemory, RunHardware
from monitor.daemon.metrics import exposition
from monitor.daemon.metrics.histograms import Timings
from tests.harness.script import Script
from tests.harness.supervisor import eventually
from trainer_hooks.wire.messages import BatchEnded
from trainer_hooks.wire.run_documents import RunSpec

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
INSTANCE = "127.0.0.1:9469"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
SCRAPE_S = 30.0
UUID = "GPU-8f4e1d5a-33aa-4e2b-9c1d-0123456789ab"


def needed(program: str) -> str:
    """The program's path. Without it the test is skipped on a laptop and fails in CI."""
    found = shutil.which(program)
    if found is None and "CI" in os.environ:
        pytest.fail(f"{program} is not installed here; .ci/run installs it")
    if found is None:
        pytest.skip(f"{program} is not installed here")
    return found


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Server:
    """A server of the Prometheus family, ready."""

    def __init__(self, program: str, folder: Path, *arguments: str) -> None:
        self.address, self._started_s = f"127.0.0.1:{free_port()}", time.time()
        self._log = folder / f"{program}.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [needed(program), f"--web.listen-address={self.address}", *arguments],
                cwd=folder, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        eventually(f"{program}: {self._log}", self._ready, 30.0)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{self.address}/-/ready").status_code == 200
        return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def get(self, path: str, **asked: str) -> Any:
        """The JSON of an API route."""
        return httpx.get(f"http://{self.address}{path}", params=asked, timeout=30.0).json()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query of Prometheus; where nothing is there now, as it was when the server started.

        A history ends then, and a slow machine asks a minute later.
        """
        return self._query(expr, time.time()) or self._query(expr, self._started_s)

    def _query(self, expr: str, at_s: float) -> list[dict[str, Any]]:
        answer = self.get("/api/v1/query", query=expr, time=f"{at_s:.3f}")
        assert answer["status"] == "success", f"{expr}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


def prometheus(folder: Path, config: str, *arguments: str) -> Server:
    """A Prometheus with this configuration; its data are in `folder`/data."""
    (folder / "prometheus.yml").write_text(config)
    return Server(
        "prometheus", folder, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn", *arguments
    )


class Past:
    """Two runs as a daemon exposed them over the last hour, on two ranks and one GPU: one has NaN in it. And DCGM."""

    def __init__(self) -> None:
        self._runs = {"night": Script(), "quiet": Script()}
        self._timings = Timings()
        self.lines: list[str] = []

    def played(self, minutes: int = 60) -> str:
        """OpenMetrics with the time of each sample; the last one is now."""
        now_s = time.time()
        start_s = now_s - 60.0 * minutes
        for name, script in self._runs.items():
            script.driver.now_s = start_s
            script.run.opened_s = start_s
            script.run.spec = msgspec.structs.replace(_spec(name), deadline_s=now_s + 9e5)
            for rank in (0, 1):
                script.start(1, rank=rank)
        scrapes = int(60.0 * minutes / SCRAPE_S)
        for number in range(scrapes + 1):
            at_s = start_s + number * SCRAPE_S
            for name, script in self._runs.items():
                self._train(script, at_s, bad=name == "night" and number in (80, 81))
            self._scrape(at_s, number)
        return "\n".join([*self.lines, "# EOF", ""])

    def _train(self, script: Script, at_s: float, *, bad: bool) -> None:
        script.driver.now_s = at_s
        for rank in (0, 1):
            script.batches(1, 8, rank=rank, bad=bad)
            last = script[1].ranks[rank].last
            assert last is not None
            last.batch = _with_more(last.batch)
        if script.counts[1, 0].batches % 80 == 0:
            self._saved(script)
        self._timings.add("night", 0.00004)

    def _saved(self, script: Script) -> None:
        epochs, extra = divmod(script.counts[1, 0].batches, 160)  # a snapshot in the middle of each epoch
        examined: CheckpointExamined = script.saved(1, epochs, Verdict.SOUND, extra)
        assert examined.verdict is Verdict.SOUND

    def _scrape(self, at_s: float, number: int) -> None:
        core = Core()
        for name, script in self._runs.items():
            run = script.run
            run.spec = msgspec.structs.replace(run.spec, run=name)
            core.fleet.runs[name] = run
        around = exposition.Surroundings(
            at_s, "0.1.0", {"night": 1}, frozenset({("night", "ops"), ("quiet", "ops")}),
            hardware={"night": _hardware(number), "quiet": _hardware(number)},
        )  # fmt: skip
        data, _ = exposition.render(exposition.collect(core.fleet, around, self._timings), "")
        self.lines.append(f'up{{job="trainwarden",instance="{INSTANCE}"}} 1 {at_s:.3f}')
        self.lines += [_of_dcgm(UUID, 0, 71, at_s), _of_dcgm("GPU-of-nobody", 1, 35, at_s)]
        for line in data.decode().splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()  # type: ignore[union-attr]
                more = f'job="trainwarden",instance="{INSTANCE}"' + (f",{labels}" if labels else "")
                self.lines.append(f"{name}{{{more}}} {value} {at_s:.3f}")


def _of_dcgm(uuid: str, gpu: int, celsius: int, at_s: float) -> str:
    """A sample as NVIDIA's exporter shows it, with the labels that it gives to a card."""
    labels = (
        f'gpu="{gpu}",UUID="{uuid}",pci_bus_id="00000000:0{gpu + 1}:00.0",device="nvidia{gpu}",modelName="Some Card",'
        'Hostname="box",DCGM_FI_DRIVER_VERSION="550.54.15",job="dcgm",instance="127.0.0.1:9400"'
    )
    return f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} {celsius} {at_s:.3f}"


def _spec(name: str) -> RunSpec:
    return RunSpec(run=name, argv=("python", "train.py"), cwd="/", created_s=0.0, act=True, title=name.title())


def _with_more(batch: BatchEnded) -> BatchEnded:
    return msgspec.structs.replace(
        batch, loss_scale=65536.0, memory_allocated=3_000_000_000, memory_peak=4_300_000_000
    )  # fmt: skip


def _hardware(number: int) -> RunHardware:
    device = Device(
        index=0, uuid=UUID, name="Some Card", utilization_percent=97, memory_used_bytes=5_000_000_000,
        memory_total_bytes=8_000_000_000, temperature_celsius=71, power_milliwatts=220_000, throttle_bits=0x4,
        fan_percent=40,
        ecc_corrected=2, ecc_uncorrected=0, rows_correctable=0, rows_uncorrectable=0,
    )  # fmt: skip
    return RunHardware(
        HostMemory(2_000_000_000, 9_000_000_000, 16_000_000_000), (Gpu(device, xids={13: 1 + (number > 90)}),), True
    )


@contextlib.contextmanager
def with_past(folder: Path) -> Iterator[Server]:
    """A Prometheus that has scraped a daemon for the last hour, and has evaluated the rules of deploy/ since."""
    (folder / "past.txt").write_text(Past().played())
    subprocess.run(
        [needed("promtool"), "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    server = prometheus(
        folder, f"global: {{evaluation_interval: 1s}}\nrule_files: ['{DEPLOY}/rules/*.yml']\n", "--enable-feature="
    )
    try:
        recorded = 'run:trainwarden_data_wait:ratio15m{run="night"}'
        eventually("the recording rules", lambda: server.query(recorded), 30.0)
        yield server
    finally:
        server.stop()


def selectors(expr: str) -> set[str]:
    """The series that a query asks for, with the labels that it asks for."""
    return set(re.findall(r"[a-z_:]*(?:trainwarden|process|python|^up|\bup)[a-z0-9_:]*(?:\{[^}]*\})?", expr))
