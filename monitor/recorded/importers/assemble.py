"""A parsed log becomes a run: only the meaning of the columns and the extent are taken from the whole file. Pure.

A short log is kept in memory. A long one is read three times: for the names, for the extent, and for the rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from monitor.recorded.importers.columns import roles_of
from monitor.recorded.importers.extents import Extents
from monitor.recorded.importers.imported_run import (
    ImportedRun,
    Log,
    NotALog,
    Role,
    Row,
    Sample,
    UnreadableLog,
)
from monitor.recorded.importers.kept_samples import Read, ReadAnew, Samples
from monitor.recorded.importers.resets import step_begins_anew
from monitor.recorded.importers.row_builder import Columns, rows_of
from monitor.recorded.importers.several_runs import without_other_runs

PARTS_MAX = 64
NAME_OF_COLUMN = {"tensorboard": "tag", "long_table": "metric", "long_jsonl": "metric"} | dict.fromkeys(
    ("jsonl", "json_history", "wandb_history"), "key"
)  # else "column"
NO_LOSS = re.compile(
    r"time|stamp|date|(?<![a-z])(?:pid|uuid|id|port|seed|minor|priority)(?![a-z])|version|^is_", re.IGNORECASE
)
NAMES_SHOWN = 12
SPEAKING = frozenset({Role.GRAD_NORM, Role.LOSS_SCALE})  # what only a training step reports, beside its loss
ONE_ROW_AN_EPOCH = 0.9  # of the rows begin an epoch: a script that logs by epochs may repeat its last


def assemble(read: Read, kind: str, path: str, mapping: Mapping[str, Role] | None = None) -> ImportedRun:
    """The run that a parsed file describes.

    Args:
        read: begins to read the log, each time from its start.
        kind: the importer's name.
        path: of the file, for people.
        mapping: roles that the user gave by hand; they win.

    Raises:
        NotALog: no sample holds a training loss.
        UnreadableLog: `mapping` names a column that is not there.
    """
    samples = Samples(read)
    log, names = samples.log, samples.names
    word = NAME_OF_COLUMN.get(kind, "column")
    if missing := [name for name in mapping or {} if name not in names]:
        raise UnreadableLog(path, f"has no {word} {missing[0]!r}; {_nearest(missing[0], names)}")
    roles = without_other_runs(path, roles_of(names, {**log.roles, **(mapping or {})}), mapping)
    columns = _columns(log, samples.first, roles)
    rows, extents = _rows(samples, columns)
    extent = extents.extent()
    if extent is None:
        raise NotALog(path, _no_loss(word, log, names, roles))
    granularity = log.granularity or _granularity(columns, extents)
    return ImportedRun(kind, path, granularity, columns.parts, columns.rates, rows, extent, samples.truncated)


def _rows(samples: Samples, columns: Columns) -> tuple[Sequence[Row], Extents]:
    """The rows of the log, and how far they go."""
    extents = Extents()
    if not (columns.loss or columns.parts or columns.overflow):
        return [], extents
    if samples.all_kept:
        rows = list(rows_of(samples, columns))
        for row in rows:
            extents.add(row)
        return rows, extents
    for row in rows_of(samples, columns, places_only=True):
        extents.add(row)
    return ReadAnew(lambda: rows_of(samples, columns), extents.rows), extents


def _no_loss(word: str, log: Log, names: Sequence[str], roles: Mapping[str, Role]) -> str:
    there = [name for name in names if log.roles.get(name) is not Role.STEP]
    if not there:
        return "no column is a training loss: no line has a number with a name; print `step 10 loss 2.5`, or write CSV"
    found = f"no {word} is a training loss (found: {_some(there)}); "
    places = (Role.STEP, Role.EPOCH, Role.RATE, Role.MEMORY)
    may_be = [name for name in there if roles.get(name) not in places and not NO_LOSS.search(name)]
    if not may_be:
        return found + "a training is judged by its loss, so log that too"
    losses = [name for name in may_be if "loss" in name.lower()]
    unknown = [name for name in may_be if roles.get(name, Role.NONE) is Role.NONE]
    return found + f"name it with --map loss={_quoted((losses or unknown or may_be)[-1])}"


def _quoted(name: str) -> str:
    """The name as a shell takes it."""
    return name if all(c.isalnum() or c in "_-./@:" for c in name) else "'" + name.replace("'", "'\\''") + "'"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more


def _nearest(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it has {_some(names)}"


def _columns(log: Log, samples: list[Sample], roles: dict[str, Role]) -> Columns:
    by_role: dict[Role, list[str]] = {}
    for name, role in roles.items():
        by_role.setdefault(role, []).append(name)
    one = {role: found[0] for role, found in by_role.items()}
    step, epoch = one.get(Role.STEP, ""), one.get(Role.EPOCH, "")
    return Columns(
        loss=one.get(Role.LOSS, ""),
        parts=tuple(by_role.get(Role.PART, ())[:PARTS_MAX]),
        rates=tuple(by_role.get(Role.RATE, ())),
        metrics=frozenset(by_role.get(Role.METRIC, ())),
        speaking=frozenset(name for name, role in roles.items() if role in SPEAKING),
        step=step,
        epoch=epoch,
        grad_norm=one.get(Role.GRAD_NORM, ""),
        memory=one.get(Role.MEMORY, ""),
        batch_s=one.get(Role.BATCH_S, ""),
        data_s=one.get(Role.DATA_S, ""),
        loss_scale=one.get(Role.LOSS_SCALE, ""),
        overflow=one.get(Role.OVERFLOW, ""),
        memory_unit_bytes=log.memory_unit_bytes,
        first_epoch=_first_epoch(samples, epoch),
        grad_measured=_ever_finite(samples, one.get(Role.GRAD_NORM)),
        step_begins_anew=bool(step) and not epoch and step_begins_anew(samples, step, one.get(Role.LOSS, "")),
    )


def _ever_finite(samples: list[Sample], name: str | None) -> bool:
    return name is not None and any(math.isfinite(values.get(name, math.nan)) for _, values in samples)


def _first_epoch(samples: list[Sample], name: str) -> int:
    """0 for a log that counts epochs from 0 or in fractions, 1 for one that counts from 1."""
    found = [values[name] for _, values in samples if name in values and math.isfinite(values[name])] if name else []
    return int(bool(found) and min(found) >= 1 and all(epoch.is_integer() for epoch in found))


def _granularity(columns: Columns, extents: Extents) -> str:
    if columns.step or not columns.epoch:
        return "batch"
    return "epoch" if extents.distinct_epochs > ONE_ROW_AN_EPOCH * extents.rows else "batch"
