"""Writes the dashboards' JSON: `make dashboards`. Needs grafana-foundation-sdk (the extra `dev`)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import layout  # noqa: E402 - as below
from contents import BOARDS, Board, Panel  # noqa: E402 - found by the line above

from monitor.daemon.metrics.exposition import help_texts  # noqa: E402

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHTS = {"lines": 8, "number": 4, "table": 8, "states": 6}
TO_RUN = "/d/trainwarden-run?var-run=%s&${datasource:queryparam}&${__url_time_range}"
RUN_OF = {"table": "${__data.fields.run}"}  # a table has fields in place of labels
TO_REPORT = "http://${__data.fields.instance}${__data.fields.report}"
MAKE = {"lines": timeseries.Panel, "number": stat.Panel, "table": table.Panel, "states": statetimeline.Panel}


def description(panel: Panel) -> str:
    """The help of the panel's first metric of ours, and what else there is to say."""
    helps = help_texts()
    named = re.findall(r"trainwarden_\w+", " ".join(expr for expr, _ in panel.queries))
    found = next((helps[name] for each in named if (name := _family(each, helps))), "")
    return " ".join(text for text in (found, panel.more) if text)


def _family(series: str, helps: dict[str, str]) -> str:
    for name in (series, re.sub(r"_(total|bucket|sum|count)$", "", series)):
        if name in helps:
            return name
    return ""


def build_panel(panel: Panel, number: int) -> Any:
    """One panel of Grafana."""
    made = MAKE[panel.kind]().id(number).title(panel.title).description(description(panel))
    made = made.datasource(SOURCE).unit(panel.unit).span(panel.width).height(HEIGHTS[panel.kind])
    for place, (expr, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").ref_id(chr(ord("A") + place))
        if panel.kind == "table":
            query = query.format(PromQueryFormat.TABLE).instant()
        made = made.with_target(query)
    if panel.kind == "lines":
        made = made.show_points(common_models.VisibilityMode.NEVER).span_nulls(False)
        made = made.legend(common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM))
    if panel.log:
        made = made.scale_distribution(
            common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LOG).log(10)
        )
    if panel.kind == "table":
        made = made.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        made = made.with_transformation(models.DataTransformerConfig(id_val="organize", options=_columns(panel)))
    links = [("Open this run", TO_RUN % RUN_OF.get(panel.kind, "${__field.labels.run}"))] if panel.per_run else []
    links += [("Open the report", TO_REPORT)] if "incident_opened" in panel.queries[0][0] else []
    if links:
        kind = models.DashboardLinkType.LINK
        made = made.data_links([dashboard.DashboardLink(title).type(kind).url(url) for title, url in links])
    return made


def _columns(panel: Panel) -> dict[str, Any]:
    """What a table calls its columns, and which ones it hides."""
    several = len(panel.queries) > 1
    values = [f"Value #{chr(ord('A') + place)}" if several else "Value" for place in range(len(panel.queries))]
    names = {value: legend for value, (_, legend) in zip(values, panel.queries, strict=True) if legend}
    return {"renameByName": names, "excludeByName": {"Time": True, "__name__": True, "job": True}, "indexByName": {}}


def build(board: Board) -> dict[str, Any]:
    """One dashboard as Grafana's JSON."""
    made = (
        dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags(["trainwarden"])
        .refresh("30s").time("now-6h", "now").timezone("browser").editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("instance", "Daemon", "label_values(trainwarden_build_info, instance)"))
    )  # fmt: skip
    if board.choose_run:
        runs = 'label_values(trainwarden_up{instance=~"$instance"}, run)'
        made = made.with_variable(_variable("run", "Run", runs))
    number = 0
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            number += 1
            made = made.with_panel(build_panel(panel, number))
    found: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    found["annotations"] = {"list": [_incidents(board)]}
    return found


def _variable(name: str, label: str, query: str) -> Any:
    made = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    return made.multi(True).include_all(True).all_value(".*").refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)


def _incidents(board: Board) -> dict[str, Any]:
    """Marks where incidents opened. By hand: the SDK has no field for four of these."""
    which = 'instance=~"$instance",run=~"$run"' if board.choose_run else 'instance=~"$instance"'
    return {
        "name": "Incidents", "enable": True, "iconColor": "red", "type": "dashboard",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "expr": f"trainwarden_incident_opened_timestamp_seconds{{{which}}} * 1000",
        "useValueForTime": True, "step": "60s", "titleFormat": "{{run}}: {{family}}",
        "textFormat": "{{incident}} ({{severity}}, {{state}})", "tagKeys": "family,severity",
    }  # fmt: skip


def main(dashboards: Path, pictures: Path) -> None:
    """Write every dashboard, and a picture of its layout."""
    for board in BOARDS:
        made = build(board)
        (dashboards / f"{board.uid}.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")
        (pictures / f"{board.uid}.svg").write_text(layout.drawn(made))


if __name__ == "__main__":
    if len(sys.argv) > 1:  # a folder of your own, for both
        main(Path(sys.argv[1]), Path(sys.argv[1]))
    else:
        main(HERE / "dashboards", HERE.parents[1] / "docs" / "images")
