"""How a search is written: the table of its trade-off, and the policy it chose. Pure."""

from __future__ import annotations

import io

from ruamel.yaml import YAML

from monitor.core.format import plural
from monitor.core.policy.settings import Policy
from monitor.recorded.tuning.counts import Aim, Counted
from monitor.recorded.tuning.picture import text_picture
from monitor.recorded.tuning.search import PASSES_MAX, Tuned
from monitor.recorded.tuning.search_space import turned

ALERT_KEYS = {"receivers", "routes", "webhooks", "heartbeat"}  # they hold secrets, or the names of what does
HEADER = (
    "false alarms allowed", "settings", "all runs: bad runs found", "false alarms", "held out: bad runs found",
    "false alarms",
)  # fmt: skip


def tuned_lines(tuned: Tuned, aim: Aim) -> list[str]:
    """Everything, for people."""
    return [
        _runs_line(tuned),
        *(
            ["The search ended early: it reached its largest number of policies. Allow more with --points."]
            if tuned.spent
            else []
        ),
        *(
            [f"The search still found better settings in its last pass, pass {PASSES_MAX}: search again from these."]
            if tuned.unsettled
            else []
        ),
        "",
        f"| {' | '.join(HEADER)} |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.bound:.0%} | {_changes(tuned, one.point)} | {_shown(one.all_runs)} | {_shown(one.held_out)} |"
            for one in tuned.curve
        ),
        "",
        *text_picture(tuned),
        "",
        f"before the search, all runs: {_summary(tuned.base_counted)}",
        f"chosen, for alerts on at most {aim.healthy_warned:.1%} of healthy runs and actions on "
        f"{aim.healthy_critical:.1%}: " + _changes(tuned, tuned.chosen),
        f"  all runs: {_summary(tuned.all_runs)}",
        f"  held out: {_summary(tuned.held_out)}",
    ]


def _runs_line(tuned: Tuned) -> str:
    count = tuned.all_runs
    return (
        f"{count.healthy} healthy and {plural(count.bad, 'bad run')} of {plural(tuned.groups, 'group')}, "
        f"{plural(tuned.folds, 'fold')} (seed {tuned.seed}), {plural(len(tuned.tried), 'point')} of "
        f"{plural(len(tuned.parameters), 'setting')} tried"
    )


def _changes(tuned: Tuned, point: tuple[float, ...]) -> str:
    changed = [
        f"{parameter.name} {value:g}"
        for parameter, value, base in zip(tuned.parameters, point, tuned.base, strict=True)
        if value != base
    ]
    return ", ".join(changed) or "unchanged"


def _shown(counted: Counted) -> str:
    bad = f"{counted.bad_warned} of {counted.bad} ({counted.recall:.1%})"
    return f"{bad} | {counted.healthy_warned} of {counted.healthy} ({counted.warned_share:.1%})"


def _summary(counted: Counted) -> str:
    delay = (
        "" if counted.delay_median_rows is None else f", {counted.delay_median_rows:g} rows after the onset (median)"
    )
    bad_runs = f"bad runs found {counted.bad_warned} of {counted.bad} ({counted.recall:.1%}){delay}"
    healthy = f"healthy runs with an alert {counted.healthy_warned} of {counted.healthy} ({counted.warned_share:.1%})"
    return f"{bad_runs}; {healthy}, with an action {counted.healthy_critical} ({counted.critical_share:.1%})"


def policy_text(tuned: Tuned, base: Policy) -> str:
    """The chosen policy as a file: what differs from the defaults, and where it comes from."""
    policy = turned(base, tuned.parameters, tuned.chosen)
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump({"version": 1, **policy.model_dump(mode="json", exclude_defaults=True, exclude=ALERT_KEYS)}, stream)
    hears = base.webhooks or base.receivers
    left_out = ["The receivers of the first policy are left out. Add your own."] if hears else []
    head = [
        f"Found by trainwarden tune: {_runs_line(tuned)}.",
        f"Held out: {_summary(tuned.held_out)}.",
        "A key that is left out keeps its default.",
        *left_out,
    ]
    return "".join(f"# {line}\n" for line in head) + stream.getvalue()
