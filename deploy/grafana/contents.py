"""What is on the dashboards: rows of panels, each with its queries. `build.py` makes Grafana's JSON of it.

$run is what the variable of that name selects. A panel's description begins with the help of its first metric, which
monitor/daemon/metrics has; `more` is added to it.
"""

from __future__ import annotations

from dataclasses import dataclass

RUN = 'instance=~"$instance",run=~"$run"'
ON_RUN = "on (job, instance, run)"


@dataclass(frozen=True)
class Panel:
    """One panel. `kind`: lines, number, table or states. `queries` are pairs of PromQL and legend."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "lines"
    more: str = ""
    width: int = 12  # of 24
    log: bool = False
    per_run: bool = False  # True: a click leads to the dashboard of the run


@dataclass(frozen=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard. `choose_run`: it has the variable $run."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    choose_run: bool = False


def _gpu(title: str, metric: str, unit: str) -> Panel:
    """A line for each device."""
    return Panel(title, ((f"trainwarden_{metric}{{{RUN}}}", "{{run}} GPU {{gpu}}"),), unit=unit)


FLEET = Board(
    "trainwarden-fleet",
    "trainwarden: fleet",
    "Every training of every daemon that Prometheus scrapes. A click on a run leads to its own dashboard.",
    (
        Row("Now", (
            Panel("Runs alive", (('sum(trainwarden_up{instance=~"$instance"})', ""),), kind="number", width=4),
            Panel(
                "Critical incidents open",
                (('sum(trainwarden_incident_open{instance=~"$instance",severity="critical"})', ""),),
                kind="number", width=4,
            ),
            Panel(
                "Batches not finite, of all runs shown",
                (('sum(trainwarden_nonfinite_batches_total{instance=~"$instance",kind="any"})', ""),),
                kind="number", width=4,
            ),
            Panel(
                "Rollbacks, of all runs shown",
                (('sum(trainwarden_rollbacks_total{instance=~"$instance",outcome="applied"})', ""),),
                kind="number", width=4,
            ),
            Panel(
                "Daemons that answer", (('sum(up{job="trainwarden",instance=~"$instance"})', ""),),
                kind="number", width=4, more="Of the targets of the job trainwarden.",
            ),
            Panel(
                "Parts that are not watched", (('sum(trainwarden_unwatched_parts{instance=~"$instance"})', ""),),
                kind="number", width=4,
            ),
        )),
        Row("Runs", (
            Panel(
                "Runs",
                (
                    ('trainwarden_up{instance=~"$instance"}', "alive"),
                    ('trainwarden_epoch{instance=~"$instance"}', "epoch"),
                    ('trainwarden_nonfinite_batches_total{instance=~"$instance",kind="any"}', "not finite"),
                    ('sum without (severity) (trainwarden_incident_open{instance=~"$instance"})', "incidents open"),
                    ('trainwarden_eta_timestamp_seconds{instance=~"$instance"} * 1000', "ends"),
                    ('trainwarden_deadline_timestamp_seconds{instance=~"$instance"} * 1000', "deadline"),
                ),
                kind="table", width=24, per_run=True,
            ),
            Panel(
                "State", (('trainwarden_up{instance=~"$instance"}', "{{run}}"),),
                kind="states", width=24, per_run=True,
            ),
        )),
        Row("Is something wrong", (
            Panel(
                "Share of batches that are not finite",
                (('run:trainwarden_nonfinite_batches:ratio15m{instance=~"$instance"}', "{{run}}"),),
                unit="percentunit", per_run=True, more="Over 15 minutes; from the recording rules.",
            ),
            Panel(
                "Seconds since the last batch",
                (
                    (
                        ("time() - max by (job, instance, run) "
                        '(trainwarden_last_batch_timestamp_seconds{instance=~"$instance"})'
                        f' and {ON_RUN} trainwarden_up == 1'),
                        "{{run}}",
                    ),
                ),
                unit="s", per_run=True,
            ),
            Panel(
                "Batches a second", (('run:trainwarden_batches:rate5m{instance=~"$instance"}', "{{run}}"),),
                unit="cps", per_run=True, more="Over 5 minutes; from the recording rules.",
            ),
            Panel(
                "Hours to the deadline that are left at this pace",
                (
                    (
                        ('(trainwarden_deadline_timestamp_seconds{instance=~"$instance"}'
                        ' - trainwarden_eta_timestamp_seconds{instance=~"$instance"}) / 3600'),
                        "{{run}}",
                    ),
                ),
                unit="h", per_run=True, more="Below 0 the run will be late.",
            ),
        )),
    ),
)  # fmt: skip

ONE_RUN = Board(
    "trainwarden-run",
    "trainwarden: run",
    "One or several runs: are they learning, are they stable, are they fast, is the hardware well?",
    (
        Row("At a glance", (
            Panel("Epoch", ((f"trainwarden_epoch{{{RUN}}}", "{{run}}"),), kind="number", width=4),
            Panel("Batches", ((f"trainwarden_batches_total{{{RUN}}}", "{{run}}"),), kind="number", width=4),
            Panel(
                "Batches not finite", ((f'trainwarden_nonfinite_batches_total{{{RUN},kind="any"}}', "{{run}}"),),
                kind="number", width=4, more="The exact count, not an estimate.",
            ),
            Panel(
                "Incidents open", ((f"sum without (severity) (trainwarden_incident_open{{{RUN}}})", "{{run}}"),),
                kind="number", width=4,
            ),
            Panel(
                "Ends", ((f"trainwarden_eta_timestamp_seconds{{{RUN}}} * 1000", "{{run}}"),),
                unit="dateTimeAsLocal", kind="number", width=4,
            ),
            Panel(
                "Newest clean states",
                (
                    (f"time() - trainwarden_last_checkpoint_timestamp_seconds{{{RUN}}}", "{{run}} checkpoint"),
                    (f"time() - trainwarden_last_snapshot_timestamp_seconds{{{RUN}}}", "{{run}} snapshot"),
                ),
                unit="s", kind="number", width=4, more="Their ages. A snapshot lies within an epoch.",
            ),
            Panel(
                "Incidents", ((f"trainwarden_incident_opened_timestamp_seconds{{{RUN}}} * 1000", ""),),
                kind="table", width=24, more="The link of a row leads to its report.",
            ),
        )),
        Row("Is it learning", (
            Panel("Loss", ((f"trainwarden_loss{{{RUN}}}", "{{run}} {{part}} rank {{rank}}"),), log=True),
            Panel("Learning rate", ((f"trainwarden_learning_rate{{{RUN}}}", "{{run}} {{group}} rank {{rank}}"),)),
            Panel(
                "Momentum, weight decay and clip",
                (
                    (f"trainwarden_momentum{{{RUN}}}", "{{run}} momentum rank {{rank}}"),
                    (f"trainwarden_weight_decay{{{RUN}}}", "{{run}} weight decay rank {{rank}}"),
                    (f"trainwarden_clip_norm{{{RUN}}}", "{{run}} clip rank {{rank}}"),
                ),
                log=True,
            ),
            Panel("Checkpoints", ((f"trainwarden_checkpoints{{{RUN}}}", "{{run}} {{verdict}}"),)),
        )),
        Row("Is it stable", (
            Panel("Gradient norm", ((f"trainwarden_grad_norm{{{RUN}}}", "{{run}} rank {{rank}}"),), log=True),
            Panel(
                "Batches not finite, by where it was seen",
                ((f"trainwarden_nonfinite_batches_total{{{RUN}}}", "{{run}} {{kind}}"),),
            ),
            Panel("Steps that were skipped", ((f"trainwarden_skipped_steps_total{{{RUN}}}", "{{run}} by {{by}}"),)),
            Panel(
                "Findings an hour",
                (
                    (
                        f"sum by (run, detector) (increase(trainwarden_findings_total{{{RUN}}}[1h])) > 0",
                        "{{run}} {{detector}}",
                    ),
                ),
            ),
            Panel("Loss scale", ((f"trainwarden_loss_scale{{{RUN}}}", "{{run}} rank {{rank}}"),), log=True),
            Panel(
                "Rollbacks, and the batches they threw away",
                (
                    (f"trainwarden_rollbacks_total{{{RUN}}}", "{{run}} {{outcome}}"),
                    (f"trainwarden_batches_lost_total{{{RUN}}}", "{{run}} batches"),
                ),
            ),
        )),
        Row("Is it fast", (
            Panel(
                "Time of a batch",
                (
                    (f"run:trainwarden_batch_seconds:mean5m{{{RUN}}}", "{{run}} mean"),
                    (f"run:trainwarden_batch_seconds:p99_15m{{{RUN}}}", "{{run}} p99"),
                ),
                unit="s", more="From the recording rules.",
            ),
            Panel(
                "Share of it that waits for data", ((f"run:trainwarden_data_wait:ratio15m{{{RUN}}}", "{{run}}"),),
                unit="percentunit", more="Over 15 minutes; from the recording rules.",
            ),
            Panel(
                "Batches a second",
                ((f"rate(trainwarden_batches_total{{{RUN}}}[$__rate_interval])", "{{run}}"),), unit="cps",
            ),
            Panel(
                "How far the ranks are apart",
                (
                    (
                        (f"max by (run) (trainwarden_last_batch_timestamp_seconds{{{RUN}}})"
                        f" - min by (run) (trainwarden_last_batch_timestamp_seconds{{{RUN}}})"),
                        "{{run}}",
                    ),
                ),
                unit="s",
            ),
        )),
        Row("Is the hardware well", (
            Panel(
                "GPU memory", ((f"trainwarden_gpu_memory_bytes{{{RUN}}}", "{{run}} {{kind}} rank {{rank}}"),),
                unit="bytes",
            ),
            Panel("Host memory", ((f"trainwarden_host_memory_bytes{{{RUN}}}", "{{run}} {{kind}}"),), unit="bytes"),
            _gpu("GPU busy", "gpu_utilization_ratio", "percentunit"),
            _gpu("GPU memory in use", "gpu_memory_used_bytes", "bytes"),
            _gpu("GPU temperature", "gpu_temperature_celsius", "celsius"),
            _gpu("GPU power", "gpu_power_watts", "watt"),
            _gpu("GPU fan", "gpu_fan_ratio", "percentunit"),
            Panel(
                "GPU slowed down",
                ((f"trainwarden_gpu_throttled{{{RUN}}} > 0", "{{run}} GPU {{gpu}} {{reason}}"),), kind="states",
            ),
            Panel(
                "GPU errors",
                (
                    (f"trainwarden_gpu_xid_errors_total{{{RUN}}}", "{{run}} GPU {{gpu}} XID {{xid}}"),
                    (f"trainwarden_gpu_ecc_errors_total{{{RUN}}}", "{{run}} GPU {{gpu}} {{kind}}"),
                    (f"trainwarden_gpu_remapped_rows{{{RUN}}}", "{{run}} GPU {{gpu}} rows {{kind}}"),
                ),
            ),
        )),
    ),
    choose_run=True,
)  # fmt: skip

MONITOR = Board(
    "trainwarden-monitor",
    "trainwarden: the monitor itself",
    "Does the daemon answer, does it keep up, do its alerts arrive?",
    (
        Row("Daemon", (
            Panel(
                "Answers", (('up{job="trainwarden",instance=~"$instance"}', "{{instance}}"),), kind="states", width=24,
                more="Whether Prometheus got an answer.",
            ),
            Panel("Version", (('trainwarden_build_info{instance=~"$instance"}', ""),), kind="table"),
            Panel("Python", (('python_info{instance=~"$instance"}', ""),), kind="table", more="Of the daemon."),
            Panel(
                "Memory of the daemon", (('process_resident_memory_bytes{instance=~"$instance"}', "{{instance}}"),),
                unit="bytes", more="Resident.",
            ),
            Panel(
                "CPU of the daemon",
                (('rate(process_cpu_seconds_total{instance=~"$instance"}[$__rate_interval])', "{{instance}}"),),
                unit="percentunit", more="1 is one core.",
            ),
            Panel(
                "Time for an input, p99",
                (
                    (
                        ("histogram_quantile(0.99, sum by (instance, le) "
                        '(rate(trainwarden_detect_seconds_bucket{instance=~"$instance"}[$__rate_interval])))'),
                        "{{instance}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "History, and what could not be read",
                (
                    ('trainwarden_history_moved_aside{instance=~"$instance"}', "{{instance}} moved aside"),
                    ('trainwarden_history_shortened{instance=~"$instance"}', "{{instance}} shortened"),
                    ('trainwarden_unreadable_parts{instance=~"$instance"}', "{{instance}} unreadable parts"),
                ),
            ),
        )),
        Row("Records", (
            Panel(
                "Records and frames that were dropped",
                (
                    ('trainwarden_frames_dropped_total{instance=~"$instance"}', "{{run}} dropped"),
                    ('trainwarden_batches_unseen_total{instance=~"$instance"}', "{{run}} not seen"),
                ),
            ),
            Panel("Hooks that failed", (('trainwarden_hook_errors_total{instance=~"$instance"}', "{{run}}"),)),
            Panel(
                "Runs and series",
                (
                    ('trainwarden_runs{instance=~"$instance"}', "{{instance}} runs"),
                    ('trainwarden_runs_left_out{instance=~"$instance"}', "{{instance}} runs left out"),
                    ('trainwarden_series_left_out{instance=~"$instance"}', "{{instance}} series left out"),
                ),
            ),
            Panel(
                "Copies of checkpoints that were lost",
                (('trainwarden_checkpoint_copies_lost_total{instance=~"$instance"}', "{{run}}"),),
            ),
        )),
        Row("Alerts and orders", (
            Panel("Alerts that wait", (('trainwarden_alerts_pending{instance=~"$instance"}', "{{run}}"),)),
            Panel(
                "Alerts settled",
                (
                    (
                        'sum by (receiver, outcome) (trainwarden_alerts_sent_total{instance=~"$instance"})',
                        "{{receiver}} {{outcome}}",
                    ),
                ),
            ),
            Panel(
                "Orders to trainers",
                (('sum by (kind, outcome) (trainwarden_orders_total{instance=~"$instance"})', "{{kind}} {{outcome}}"),),
            ),
            Panel(
                "Messages that did not arrive",
                (
                    ('trainwarden_downlinks_undelivered_total{instance=~"$instance"}', "{{instance}}"),
                    ('trainwarden_messages_refused_total{instance=~"$instance"}', "{{run}} refused"),
                ),
            ),
        )),
    ),
)  # fmt: skip

BOARDS = (FLEET, ONE_RUN, MONITOR)
