"""A parsed log becomes a run: only the meaning of the columns is taken from the whole file. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches

from monitor.recorded.importers.columns import roles_of
from monitor.recorded.importers.imported_run import ImportedRun, Log, NotALog, Role, Row, Sample, UnreadableLog
from monitor.recorded.importers.row_builder import Columns, Follower

PARTS_MAX = 64
NAME_OF_COLUMN = {"tensorboard": "tag", "jsonl": "key", "json_history": "key", "wandb_history": "key"}  # else "column"
NAMES_SHOWN = 12
SPEAKING = frozenset({Role.GRAD_NORM, Role.LOSS_SCALE})  # what only a training step reports, beside its loss
ONE_ROW_AN_EPOCH = 0.9  # of the rows begin an epoch: a script that logs by epochs may repeat its last


def assemble(log: Log, kind: str, path: str, mapping: Mapping[str, Role] | None = None) -> ImportedRun:
    """The run that a parsed file describes.

    Args:
        log: what the importer read.
        kind: the importer's name.
        path: of the file, for people.
        mapping: roles that the user gave by hand; they win.

    Raises:
        NotALog: no sample holds a training loss.
        UnreadableLog: `mapping` names a column that is not there.
    """
    names = list(dict.fromkeys(name for _, values in log.samples for name in values))
    word = NAME_OF_COLUMN.get(kind, "column")
    if missing := [name for name in mapping or {} if name not in names]:
        raise UnreadableLog(path, f"has no {word} {missing[0]!r}; {_nearest(missing[0], names)}")
    columns = _columns(log, roles_of(names, {**log.roles, **(mapping or {})}))
    follower = Follower(columns)
    if columns.loss or columns.parts:
        for line, values in log.samples:
            follower.take(line, values)
    if not follower.rows:
        some = _some([name for name in names if log.roles.get(name) is not Role.STEP])
        raise NotALog(path, f"no {word} is a training loss (found: {some}); name it with --map loss=...")
    follower.end_epoch()
    granularity = log.granularity or _granularity(columns, follower.rows)
    return ImportedRun(kind, path, granularity, columns.parts, columns.rates, follower.rows, log.truncated)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more


def _nearest(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it has {_some(names)}"


def _columns(log: Log, roles: dict[str, Role]) -> Columns:
    by_role: dict[Role, list[str]] = {}
    for name, role in roles.items():
        by_role.setdefault(role, []).append(name)
    one = {role: found[0] for role, found in by_role.items()}
    return Columns(
        loss=one.get(Role.LOSS, ""),
        parts=tuple(by_role.get(Role.PART, ())[:PARTS_MAX]),
        rates=tuple(by_role.get(Role.RATE, ())),
        metrics=frozenset(by_role.get(Role.METRIC, ())),
        speaking=frozenset(name for name, role in roles.items() if role in SPEAKING),
        step=one.get(Role.STEP, ""),
        epoch=one.get(Role.EPOCH, ""),
        grad_norm=one.get(Role.GRAD_NORM, ""),
        memory=one.get(Role.MEMORY, ""),
        batch_s=one.get(Role.BATCH_S, ""),
        data_s=one.get(Role.DATA_S, ""),
        loss_scale=one.get(Role.LOSS_SCALE, ""),
        memory_unit_bytes=log.memory_unit_bytes,
        first_epoch=_first_epoch(log.samples, one.get(Role.EPOCH)),
        grad_measured=_ever_finite(log.samples, one.get(Role.GRAD_NORM)),
    )


def _ever_finite(samples: list[Sample], name: str | None) -> bool:
    return name is not None and any(math.isfinite(values.get(name, math.nan)) for _, values in samples)


def _first_epoch(samples: list[Sample], name: str | None) -> int:
    """0 for a log that counts epochs from 0 or in fractions, 1 for one that counts from 1."""
    found = [values[name] for _, values in samples if name in values and math.isfinite(values[name])] if name else []
    return int(bool(found) and min(found) >= 1 and all(epoch.is_integer() for epoch in found))


def _granularity(columns: Columns, rows: list[Row]) -> str:
    if columns.step or not columns.epoch:
        return "batch"
    epochs = {(row.generation, row.epoch) for row in rows}
    return "epoch" if len(epochs) > ONE_ROW_AN_EPOCH * len(rows) else "batch"
