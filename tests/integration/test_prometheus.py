"""deploy/prometheus and deploy/grafana against Debian's own tools, and against the series of a daemon."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from monitor.daemon.metrics.exposition import PREFIX, help_texts
from tests.harness.prometheus import DEPLOY, ROOT, UUID, Server, needed, selectors, with_past

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "runbooks.md"
SUFFIX = re.compile(r"_(total|bucket|sum|count)$")
NEVER_BEFORE_TROUBLE = ("gpu_throttled", "findings_total")  # a filter on the value, which healthy series do not pass


def rules(name: str) -> list[dict[str, Any]]:
    loaded = YAML(typ="safe").load((DEPLOY / "rules" / f"{name}.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts")}
RECORDED = {rule["record"]: rule for rule in rules("recording")}
PANELS = [
    pytest.param(target["expr"], id=f"{path.stem}: {panel['title']} {target['refId']}")
    for path in DASHBOARDS
    for panel in json.loads(path.read_text())["panels"]
    for target in panel.get("targets", [])
]


def chosen(expr: str) -> str:
    """With everything selected, as Grafana fills it in."""
    return expr.replace("$instance", ".*").replace("$run", ".*").replace("$__rate_interval", "1m")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with with_past(tmp_path_factory.mktemp("prometheus")) as started:
        yield started


@pytest.mark.parametrize(
    "arguments",
    [
        ("promtool", "check", "config", "prometheus.yml"),
        ("promtool", "check", "rules", "rules/alerts.yml", "rules/recording.yml"),
        ("promtool", "test", "rules", "tests/alerts.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ],
    ids=" ".join,
)
def test_the_servers_own_tools_accept_the_files(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [needed(arguments[0]), *arguments[1:]], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_means_and_has_a_runbook_and_a_test(name: str) -> None:
    rule = ALERTS[name]
    assert name.startswith("Trainwarden")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert "{{" not in rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
    assert "/d/trainwarden-" in rule["annotations"]["dashboard_url"]
    assert f"\n## {name}\n" in RUNBOOKS.read_text()
    one_shot = "increase(" in rule["expr"]
    assert one_shot or "for" in rule, "only an event that is over at once needs no `for`"
    tested = (DEPLOY / "tests" / "alerts.yml").read_text()
    assert f"{name} fires" in tested
    assert f"{name} stays quiet" in tested


def test_no_rule_and_no_panel_names_a_metric_that_the_daemon_does_not_have() -> None:
    known = set(help_texts())
    files = [*DEPLOY.rglob("*.yml"), *DEPLOY.rglob("*.md"), *DASHBOARDS, RUNBOOKS]
    for path in files:
        for series in set(re.findall(r"(?<![\w:/-])trainwarden_\w+", path.read_text())):
            assert series in known or SUFFIX.sub("", series) in known, f"{path.name}: {series}"
    for path in DASHBOARDS:
        for record in set(re.findall(r"run:trainwarden_\w+:\w+", path.read_text())):
            assert record in RECORDED, f"{path.name}: {record}"


@pytest.mark.parametrize("record", RECORDED)
def test_a_recording_rule_gives_data(server: Server, record: str) -> None:
    assert re.fullmatch(r"[a-z]+:trainwarden_\w+:\w+", record)
    assert server.query(record)


@pytest.mark.parametrize("name", ALERTS)
def test_what_an_alert_asks_for_is_there(server: Server, name: str) -> None:
    expr = ALERTS[name]["expr"]
    server.query(expr)
    asked = selectors(expr)
    assert asked
    for series in asked:
        assert server.query(series), series


@pytest.mark.parametrize("expr", PANELS)
def test_a_query_of_a_dashboard_gives_data(server: Server, expr: str) -> None:
    asked = chosen(expr)
    found = server.query(asked)
    if any(word in expr for word in NEVER_BEFORE_TROUBLE):
        found = server.query(re.sub(r" > 0$", "", asked))
    assert found, asked


def test_the_documented_join_gives_each_run_what_dcgm_says_of_its_card(server: Server) -> None:
    """Two runs share the card; another one of the machine belongs to none of them."""
    (query,) = re.findall(r"```\n(.*DCGM_.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    found = {one["metric"]["run"]: (one["metric"]["UUID"], one["value"][1]) for one in server.query(query)}
    assert found == {"night": (UUID, "71"), "quiet": (UUID, "71")}
    assert len(server.query("DCGM_FI_DEV_GPU_TEMP")) == 2


def test_the_dashboards_are_those_that_their_contents_make(tmp_path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    committed = [*DASHBOARDS, *(ROOT / "docs" / "images").glob("trainwarden-*.svg")]
    assert len(committed) == 6
    subprocess.run([sys.executable, ROOT / "deploy" / "grafana" / "build.py", tmp_path], check=True)
    changed = [path.name for path in committed if path.read_bytes() != (tmp_path / path.name).read_bytes()]
    assert not changed, "run `make dashboards`"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_used_anywhere_and_explains_itself(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    names = [variable["name"] for variable in board["templating"]["list"]]
    assert names[:2] == ["datasource", "instance"]
    assert ("run" in names) == (path.stem == "trainwarden-run")
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].strip(), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["refId"] for target in panel["targets"])
    (incidents,) = board["annotations"]["list"]
    assert PREFIX in incidents["expr"]
    assert incidents["useValueForTime"] is True
    assert "rate(" not in path.read_text() or "$__rate_interval" in path.read_text()


def test_two_panels_lead_on_from_the_fleet_to_the_run_and_from_an_incident_to_its_report() -> None:
    texts = {path.stem: path.read_text() for path in DASHBOARDS}
    assert "/d/trainwarden-run?var-run=" in texts["trainwarden-fleet"]
    assert "${__data.fields.report}" in texts["trainwarden-run"]
