"""Reads the state as any version of it was written: the newest as it is, those before by moving fields. Pure.

Version 1 had no trainings: everything of a run was one training.
"""

from __future__ import annotations

from typing import Any

import msgspec

from monitor.core.state.run import STATE_VERSION, Fleet, RunState
from trainer_hooks.wire.messages import Counts

OF_RUN = (
    "spec", "policy", "opened_s", "generation", "nonce", "pid", "alive", "exited_s", "downtime_s", "ended",
    "ended_detail", "ended_s", "hardware", "switched_off",
)  # fmt: skip
OF_TRAINING = (
    "generation", "phase", "epochs", "settings_log", "nonfinite_log", "applied", "final_metrics", "findings",
)  # fmt: skip
OF_SILENCE = ("phase_since_s", "longest_s", "idle_ticks", "pauses", "train_from")
OF_LEDGER = ("rollbacks_used", "in_force", "leaving", "suspicion_s")
OF_TOTALS = (
    "counts", "batches_discarded", "histogram_batch_s", "histogram_wait_s", "sum_batch_s", "sum_wait_s", "findings",
)  # fmt: skip

RENAMED = {
    "spell": "streak", "lifted": "short_mean_high", "odd_sizes": "size_mismatch_streak", "told": "reported",
}  # fmt: skip
OF_INCIDENT = (
    "id", "number", "family", "severity", "state", "opened_s", "opened_at", "onset", "findings", "diagnosis",
    "closed_s", "outcome",
)  # fmt: skip
OF_ACTION = ("reason", "waiting_for", "plan", "order", "target", "left_at", "applied_s", "resumed_s")
OF_INCIDENT_TOTALS = ("attempts", "rollbacks", "batches_discarded", "downtime_s")

_fleets = msgspec.msgpack.Decoder(Fleet)
_runs = msgspec.msgpack.Decoder(RunState)


class _Version(msgspec.Struct):
    version: int = 1


def fleet_of(data: bytes) -> Fleet:
    """A snapshot of the whole state. Raises msgspec.DecodeError for one that can't be read."""
    version = msgspec.msgpack.decode(data, type=_Version).version
    if version == STATE_VERSION:
        return _fleets.decode(data)
    if version != 1:
        raise msgspec.ValidationError(f"it is of version {version}, this program reads 1 to {STATE_VERSION}")
    raw = msgspec.msgpack.decode(data)
    runs = {name: _run(run) for name, run in raw.get("runs", {}).items()}
    return msgspec.convert({"runs": runs, "seq": raw.get("seq", 0), "now_s": raw.get("now_s", 0.0)}, Fleet)


def run_of(data: bytes) -> RunState:
    """One run, as its folder keeps it after its end. Raises msgspec.DecodeError for one that can't be read."""
    raw = msgspec.msgpack.decode(data)
    if not isinstance(raw, dict) or isinstance(raw.get("trainings"), dict):
        return _runs.decode(data)
    return msgspec.convert(_run(raw), RunState)


def _run(old: dict[str, Any]) -> dict[str, Any]:
    totals = old.get("totals", {})
    return {
        **_taken(old, OF_RUN),
        **_taken(totals, ("frames_refused", "alerts")),
        "supervisor_pid": old.get("shim_pid", 0),
        "ledger": {
            "effects": old.get("effect_serial", 0),
            "incidents": len(old.get("incidents", [])),
            "defects": totals.get("defects", 0),
        },
        "trainings": {1: _training(old, totals)},
    }


def _training(old: dict[str, Any], totals: dict[str, Any]) -> dict[str, Any]:
    return {
        **_taken(old, OF_TRAINING),
        "silence": _taken(old, OF_SILENCE),
        "number": 1,
        "started": old.get("training"),
        "starts": old.get("trainings", []),
        "over": old.get("training_over", False),
        "how": old.get("training_how", ""),
        "streaks": old.get("spells", {}),
        "totals": _taken(totals, OF_TOTALS),
        "ranks": _renamed(old.get("ranks", {})),
        "last_bad": _last_bad(old),
        "checkpoints": [_checkpoint(one) for one in old.get("checkpoints", [])],
        "ledger": _ledger(old, totals),
    }


def _ledger(old: dict[str, Any], totals: dict[str, Any]) -> dict[str, Any]:
    order = old.get("pending_order")
    times = {"since_s": old.get("pending_since_s", 0.0), "sent_s": old.get("pending_sent_s", 0.0)}
    return {
        **_taken(old, OF_LEDGER),
        "counters": {"incidents": totals.get("incidents", {}), **_taken(totals, ("rollbacks", "orders"))},
        "incidents": [_incident(one) for one in old.get("incidents", [])],
        "last_action": _last_action(old),
        "pending": {"order": order, **times} if order else None,
        "warned": old.get("watch_alerts", {}),
        "copies": {
            "examining": [one["digest"] for one in old.get("checkpoints", []) if one.get("examining")],
            "kept": old.get("kept", ()),
            "dropped": {one["digest"]: 1 for one in old.get("checkpoints", []) if one.get("dropped")},
        },
        "stacks": _renamed(old.get("stacks", {})),
    }


def _last_action(old: dict[str, Any]) -> dict[str, Any] | None:
    count = old.get("last_action_count", -1)
    return None if count < 0 else {"generation": old.get("last_action_generation", 0), "count": count}


def _incident(old: dict[str, Any]) -> dict[str, Any]:
    return {
        **_taken(old, OF_INCIDENT),
        "timeline": old.get("story", []),
        "at_open": {
            "started": old.get("training"),
            "settings": old.get("before"),
            "samples": old.get("onset_samples", []),
            "nonfinite": old.get("window_nonfinite", 0),
            "options": old.get("options", []),
        },
        "action": {"kind": old.get("rung", ""), **_taken(old, OF_ACTION)},
        "watch": {
            "needed": old.get("watch_needed", 0),
            "seen": old.get("watch_seen", 0),
            "notified": old.get("watch_said", 0),
            "samples_left": old.get("samples_left"),
        },
        "totals": _taken(old, OF_INCIDENT_TOTALS),
    }


def _last_bad(old: dict[str, Any]) -> int:
    """Where the last non-finite batch of rank 0 was is not kept: at the latest it was the last batch."""
    leader = old.get("ranks", {}).get(0, {})
    counts = msgspec.convert(leader.get("counts", []), Counts)
    return counts.batches if counts.nonfinite_batches else 0


def _checkpoint(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "healthy_longest": old.get("healthy_after", 0), "learned": _renamed(old.get("learned"))}


def _renamed(old: Any) -> Any:
    """The same with the present names, in every struct within it."""
    if isinstance(old, list):
        return [_renamed(one) for one in old]
    if not isinstance(old, dict):
        return old
    return {RENAMED.get(name, name): _renamed(value) for name, value in old.items()}


def _taken(old: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: old[name] for name in names if name in old}
