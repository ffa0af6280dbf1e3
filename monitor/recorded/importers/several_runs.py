"""Tables that hold the columns of several runs, `run - train/loss`, as Weights & Biases exports them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.recorded.importers.imported_run import Role, UnreadableLog

BETWEEN = " - "
RUNS_SHOWN = 4


class SeveralRuns(UnreadableLog):
    """A table of several runs: each can be read by itself, with its loss named."""

    def __init__(self, name: str, losses: Mapping[str, str]) -> None:
        self.losses = dict(losses)  # by run, the column of its loss
        shown = ", ".join(list(losses)[:RUNS_SHOWN]) + (", ..." if len(losses) > RUNS_SHOWN else "")
        column = next(iter(losses.values()))
        super().__init__(name, f"holds {len(losses)} runs ({shown}); name one with --map loss='{column}'")


def run_of(column: str) -> str:
    """The run that a column is of; empty: the column says none."""
    return column.rpartition(BETWEEN)[0]


def without_other_runs(path: str, roles: Mapping[str, Role], mapping: Mapping[str, Role] | None) -> dict[str, Role]:
    """The roles, those of other runs taken away. Raises SeveralRuns where nothing says which run is meant."""
    chosen = {run_of(name) for name in mapping or {} if run_of(name)}
    losses: dict[str, str] = {}
    for name, role in roles.items():
        if role in (Role.LOSS, Role.PART) and (run := run_of(name)):
            losses[run] = name if role is Role.LOSS else losses.get(run, name)
    if len(losses) < 2:
        return dict(roles)
    if not chosen:
        raise SeveralRuns(path, losses)
    return {name: Role.NONE if run_of(name) and run_of(name) not in chosen else role for name, role in roles.items()}
