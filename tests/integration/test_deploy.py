"""Each file of deploy/ is accepted by the tool that reads it, and names nothing that the code does not have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from monitor.cli import commands as command_line
from monitor.client.port import DEFAULT_PORT
from tests.harness.prometheus import ROOT, needed

DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OWN_KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule", "Kustomization")  # no part of Kubernetes itself
METRICS_PORT = 9470
OTHERS = {9090, 9093, 9095, 3000}  # Prometheus, Alertmanager, its receiver, Grafana


def tool(name: str) -> str:
    """From the environment's own folder, or from the machine; see `needed`."""
    beside = BIN / name
    return str(beside) if beside.exists() else needed(name)


def run(*arguments: str, cwd: Path = DEPLOY, **more: str) -> str:
    """What it says. Fails where the tool refuses."""
    done = subprocess.run(
        arguments, cwd=cwd, env=os.environ | more, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_container_and_the_compose_file_are_accepted() -> None:
    run(tool("hadolint"), "container/Dockerfile")
    run(tool("docker-compose"), "-f", "container/compose.yaml", "config", "-q")
    loaded = YAML(typ="safe").load((DEPLOY / "container" / "compose.yaml").read_text())
    for service in loaded["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in loaded["volumes"] or (DEPLOY / "container" / source).exists(), source


def test_the_units_are_accepted_and_the_daemons_is_hardened(tmp_path: Path) -> None:
    """Its exit code is 0 whatever it finds: what it says counts."""
    analyze = needed("systemd-analyze")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("%h/.local/bin/trainwarden", shutil.which("true") or "/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = ("trainwarden.service", "trainwarden-training@x.service")
    said = run(analyze, "verify", "--user", *units, cwd=tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert not [line for line in said.splitlines() if "trainwarden" in line], said
    said = run(analyze, "security", "--offline=true", "--threshold=60", "trainwarden.service", cwd=tmp_path)
    assert "OK" in said


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_a_resource_is_what_kubernetes_takes(path: Path) -> None:
    loaded = YAML(typ="safe").load(path.read_text())
    assert loaded["apiVersion"]
    if loaded["kind"] not in OWN_KINDS:
        run(tool("kubernetes-validate"), "--strict", str(path))


def test_kustomize_puts_them_together_with_the_dashboards() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed here")
    arguments = ("kustomize", "--load-restrictor=LoadRestrictionsNone", "deploy/kubernetes")
    assert f"kubectl {' '.join(arguments)} |" in (ROOT / "docs" / "recipes.md").read_text()
    made = run(kubectl, *arguments, cwd=ROOT)
    kinds = re.findall(r"^kind: (\w+)$", made, re.MULTILINE)
    assert sorted(kinds) == ["ConfigMap", "Job", "NetworkPolicy", "PodMonitor", "PrometheusRule"]
    assert 'grafana_dashboard: "1"' in made
    assert made.count("trainwarden-fleet.json") == 1


def test_the_rules_of_the_operator_are_those_of_prometheus(tmp_path: Path) -> None:
    made = tmp_path / "prometheusrule.yaml"
    run(sys.executable, str(DEPLOY / "kubernetes" / "make_rules.py"), str(made))
    assert made.read_bytes() == (DEPLOY / "kubernetes" / made.name).read_bytes(), "run `make dashboards`"


def test_the_batch_script_is_a_sound_one() -> None:
    run(tool("shellcheck"), "slurm/train.sbatch")


def commands() -> list[list[str]]:
    """Every command of ours that a file of deploy/ runs."""
    found = []
    for path in sorted(DEPLOY.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".service", ".sbatch") or path.name == "Dockerfile":
            lines = [line for line in path.read_text().splitlines() if not line.strip().startswith("#")]
            for line in lines:
                if match := re.search(r'trainwarden"? ((?:run|serve)\b[^&\']*)', line.strip()):
                    found.append(match[1].replace('"', "").split())
                elif match := re.search(r'\["(?:trainwarden", ")?((?:run|serve)".*)\]', line):
                    found.append([part.strip(' "') for part in match[1].split(",")])
    return found


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_has_only_options_that_there_are(arguments: list[str]) -> None:
    shown = CliRunner().invoke(command_line, [arguments[0], "--help"]).output
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for option in [each for each in own if each.startswith("--")]:
        assert option in shown, option


ADDRESS = re.compile(r"(?<![\d.])(?:127\.0\.0\.1|0\.0\.0\.0|daemon|alertmanager|prometheus):(\d+)")


def test_every_port_is_one_that_is_listened_on() -> None:
    assert len(commands()) >= 6
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".yml", ".service", ".sbatch", ".md", ""):
            for port in ADDRESS.findall(path.read_text()):
                assert int(port) in {DEFAULT_PORT, METRICS_PORT, *OTHERS}, f"{path.name}: {port}"
