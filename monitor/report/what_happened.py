"""What happened, in numbers: the batches, the epochs side by side, the steps, the memory. Pure."""

from __future__ import annotations

from monitor.core.format import about, batch_at, count, duration, percent, plural, size, value
from monitor.core.model import EpochStatus, Family, Incident
from monitor.core.policy.texts import onset_label, onset_of
from monitor.core.state.epochs import totals_of
from monitor.core.state.projection import failure_rate, projected_nonfinite
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState, TrainingState
from monitor.report.epoch_rows import clean_row, onset_row, part_means, part_names, rows_around
from monitor.report.text import safe, table

EPOCHS_BEFORE = 3  # shown ahead of the one it began in
EPOCHS_MAX = 12  # side by side: up to the one it began in, and the latest
SAME_BATCH = 1  # two maxima this many batches apart are one event: memory is read after the batch that took it


def what_happened(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The count, the rate, what it would come to, and what the detectors said."""
    lines = ["## What happened", ""]
    if incident.family == Family.CRASH:
        return [*lines, *(f"- {safe(finding.summary)}" for finding in incident.findings), f"- {_kinds(training)}"]
    row = onset_row(training, incident)
    if row is not None and row.batches:
        rate = failure_rate(row.nonfinite, row.batches)
        bad = f"{count(row.nonfinite)} of {plural(row.batches, 'batch')} not finite ({percent(rate)})"
        lines.append(f"- Epoch {row.epoch}: {bad}{_projected(row, rate)}.")
    same = incident.opened_at.generation == incident.onset.generation
    noticed = incident.opened_at.count - onset_of(incident).count if same else 0
    label, onset = onset_label(incident.family).capitalize(), onset_of(incident)
    where = f"{label}: {batch_at(onset.epoch, onset.batch)} (from 0)" if onset.count else "No batch had ended"
    later = f" The incident opened {plural(noticed, 'batch')} later." if noticed > 0 else ""
    lines.append(f"- {where}.{later}")
    lines.append(f"- {_kinds(training)}")
    lines += [f"- {safe(finding.detector)}: {safe(finding.summary)}" for finding in incident.findings]
    more = incident.findings_left_out
    return [*lines, f"- And {plural(more, 'more finding')} of other detectors."] if more else lines


def _projected(row: EpochRow, rate: float) -> str:
    """What it would come to in an epoch that goes on; begins with a semicolon."""
    left = row.batches_per_epoch - row.batches
    if left <= 0 or not row.nonfinite or row.status is not EpochStatus.RUNNING:
        return ""
    whole = row.nonfinite + projected_nonfinite(rate, left)
    return f"; at that rate about {about(whole)} in the whole epoch of {count(row.batches_per_epoch)}"


def _kinds(training: TrainingState) -> str:
    totals = totals_of(training)
    kinds = {
        "loss": totals.nonfinite_loss,
        "gradient": totals.nonfinite_gradient,
        "weights": totals.nonfinite_parameter,
        "buffers (BatchNorm statistics)": totals.nonfinite_buffer,
    }
    seen = ", ".join(f"{name} {count(number)}" for name, number in kinds.items() if number)
    by_kind = f"; by kind: {seen}" if seen else ""
    bad = plural(totals.nonfinite_batches, "non-finite batch")
    return f"Whole run: {bad} of {count(totals.batches)}{by_kind}."


def epochs(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The epochs side by side: before, the one it began in, and after."""
    before, after = rows_around(training, incident)
    before = before[-EPOCHS_BEFORE:]
    shown = [*before, *after[:1]]
    latest = after[1:][len(shown) - EPOCHS_MAX :]
    left_out = len(after[1:]) - len(latest)
    lines = epoch_table(training, "## Epochs side by side", [*shown, *latest])
    between = f"{plural(left_out, 'row')} between them left out; the report of the whole run has more."
    return [*lines, "", between] if left_out else lines


def epoch_table(training: TrainingState, title: str, rows: list[EpochRow]) -> list[str]:
    """A section of epochs side by side; nothing where there are none."""
    if not rows:
        return []
    header = ["epoch", "generation", "status", "batches", "NaN batches", "steps skipped", "GPU memory reserved"]
    parts = part_names(training)
    header += [f"{safe(name)} (mean)" for name in parts] + ["time"]
    return [title, "", *table(header, [_epoch_cells(row, len(parts)) for row in rows])]


def _epoch_cells(row: EpochRow, parts: int) -> list[str]:
    means = [value(mean) for mean in part_means(row)][:parts]
    took = (
        f"{count(row.batches)} of {count(row.batches_per_epoch)}"
        if row.batches < row.batches_per_epoch
        else count(row.batches)
    )
    nan = f"{count(row.nonfinite)} ({percent(failure_rate(row.nonfinite, row.batches))})" if row.nonfinite else "0"
    spent_s = row.ended_s - row.started_s if row.ended_s is not None else None
    return [
        str(row.epoch),
        str(row.generation),
        row.status,
        took,
        nan,
        count(row.skipped),
        _memory_span(row),
        *means,
        *["-"] * (parts - len(means)),
        "-" if spent_s is None else duration(spent_s),
    ]


def _memory_span(row: EpochRow) -> str:
    if row.reserved_first == row.reserved_max:
        return size(row.reserved_max)
    return f"{size(row.reserved_first)} -> {size(row.reserved_max)}"


def skips(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """Why the number of NaN batches and the number of skipped steps differ, as far as the counts tell."""
    row = onset_row(training, incident)
    if row is None or not row.nonfinite:
        return []
    skipped = row.skipped
    lines = ["## NaN batches and skipped steps", ""]
    by_script = f", {count(row.skipped_by_script)} by the script" if row.skipped_by_script else ""
    lines.append(
        f"Epoch {row.epoch}: {plural(row.nonfinite, 'NaN batch')}, {plural(skipped, 'skipped step')} "
        f"({count(row.skipped_by_guard)} by the guard, {count(row.skipped_by_scaler)} by the scaler{by_script})."
    )
    lines += [f"- {reason}" for reason in _why_they_differ(training, row, skipped)]
    if row.samples_lost:
        lines.append(
            f"- {plural(row.samples_lost, 'good sample')} went with the skipped steps they shared with a bad batch."
        )
    return lines


def _why_they_differ(training: TrainingState, row: EpochRow, skipped: int) -> list[str]:
    totals = totals_of(training)
    batches_a_step = totals.batches / totals.steps if totals.steps else 1.0
    reasons = []
    if row.overflows:
        reasons.append(
            f"{plural(row.overflows, 'isolated scaler overflow')} skipped a step each, with a finite loss and clean "
            "buffers: the scaler lowers its scale that way, which is normal, and they are not NaN batches."
        )
    fewer = row.nonfinite - (skipped - min(row.overflows, skipped))
    if fewer > 0 and batches_a_step > 1.05:
        reasons.append(
            f"A step gathers the gradients of about {batches_a_step:.1f} batches (accumulation): "
            f"{plural(fewer, 'NaN batch')} shared a skipped step with another one, or had not come to its step yet."
        )
    elif fewer > 0:
        reasons.append(
            f"Of {plural(fewer, 'NaN batch')} no skipped step was seen: a step was taken, or there was none to take."
        )
    if fewer < 0:
        reasons.append(
            f"{plural(-fewer, 'step')} more than NaN batches: gradients overflowed where the loss was finite."
        )
    return reasons or ["Each NaN batch cost one step, no more and no less."]


def memory(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """How far reserved GPU memory grew since the last clean epoch, and what stood in the batch where it did."""
    row, clean = onset_row(training, incident), clean_row(training, incident)
    if row is None or row.reserved_max is None:
        return []
    before = clean.reserved_max if clean else row.reserved_first
    if before is None or row.reserved_max <= before:
        return ["## GPU memory", "", f"It did not grow: {size(row.reserved_max)} reserved."]
    grew = f"from {size(before)} to {size(row.reserved_max)} (+{size(row.reserved_max - before)})"
    where = f"at batch {count(row.reserved_max_at or 0)} of epoch {row.epoch}"
    lines = ["## GPU memory", "", f"Reserved memory grew {grew}, {where}.", f"- {_memory_driver(row, clean)}"]
    if row.allocated_max is not None:
        lines.append(f"- At most {size(row.allocated_max)} of it was in use; the allocator keeps what it once took.")
    return lines


def _memory_driver(row: EpochRow, clean: EpochRow | None) -> str:
    if row.reserved_first == row.reserved_max and clean is not None:
        return (
            f"It was taken before the first batch had ended: by what lies between epoch {clean.epoch} and {row.epoch}."
        )
    if row.instances_max is None or row.instances_max_at is None or row.reserved_max_at is None:
        return "How many objects the images held is not known, so what drove it is not known either."
    objects = plural(row.instances_max, "object")
    fullest = f"the fullest image of the epoch held {objects} (batch {count(row.instances_max_at)})"
    if abs(row.instances_max_at - row.reserved_max_at) <= SAME_BATCH:
        more = f", against {count(clean.instances_max)} in epoch {clean.epoch}" if clean and clean.instances_max else ""
        why = "label assignment takes memory by the fullest image, so it does not point to the NaN"
        return f"In that batch {fullest}{more}: {why}."
    return f"That was another batch than the one where {fullest}: crowded images did not drive it."
