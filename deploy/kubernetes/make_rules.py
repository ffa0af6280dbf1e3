"""Writes prometheusrule.yaml out of ../prometheus/rules: the same rules as a resource of the Prometheus Operator.

`python deploy/kubernetes/make_rules.py [FILE]`; `make dashboards` runs it too.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ruamel.yaml import YAML

HERE = Path(__file__).parent
HEAD = "# Made of ../prometheus/rules by make_rules.py: change those.\n"


def main(target: Path) -> None:
    """Write the file."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.width = 200
    groups = [
        group
        for name in ("recording", "alerts")
        for group in yaml.load((HERE.parent / "prometheus" / "rules" / f"{name}.yml").read_text())["groups"]
    ]
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "trainwarden", "labels": {"app.kubernetes.io/name": "trainwarden"}},
        "spec": {"groups": groups},
    }
    with target.open("w") as file:
        file.write(HEAD)
        yaml.dump(made, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "prometheusrule.yaml")
