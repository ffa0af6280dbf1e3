"""What the name of a column says about its meaning, over the habits of many frameworks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from monitor.recorded.importers.imported_run import Role

VALIDATION = re.compile(
    r"(?:^|[/_. -])(?:va|val|valid|validation|eval|evaluation|test|dev|metrics)(?:[/_. -]|$)|^metrics/"
)
TRAINING = re.compile(r"(?:^|[/_. -])(?:tr|train|training)(?:[/_. -]|$)")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")  # "trainLoss"
RATE = re.compile(r"(?:^|[/_. -])(?:lr|learning[_ -]?rate)(?:[/_. -]?[a-z]*\d*)*$")
GRAD = re.compile(
    r"(?:^|[/_. ])(?:global[_ ])?(?:grad(?:ient)?[_ ]?norm|gnorm|norm)(?:[_ ](?:val|avg|total|before_clip))?$"
)
SCORES = re.compile(r"/ap(?:\d+|[sml]|-.*)?$")  # of detections, as Detectron2 has them
NOT_A_LOSS = re.compile(r"scale|weight|ratio|coef|best|min_|max_|_min|_max|std|lambda")
STEPS = (
    "global_step",
    "trainer/global_step",
    "train/global_step",
    "step",
    "current_steps",
    "iteration",
    "iter",
    "num_updates",
    "_step",
    "batch",
    "it",
    "itr",
    "iters",
    "update",
    "updates",
    "round",
)
EPOCHS = ("epoch", "train/epoch", "current_epoch")
MEMORY = ("memory", "max_mem", "memory_used", "mem", "peak mem", "gpu_mem")
SCALES = ("loss_scale", "loss scale", "amp_scale", "train/loss_scale")
# the whole loss, from the surest name to the least sure one; what else is called a loss is a component of it
LOSSES = (
    "total_loss", "loss", "train_loss", "train/loss", "training loss", "train loss", "lm loss", "loss/total_loss",
    "train/total_loss", "loss_step", "train_loss_step", "train/loss_step", "loss_value", "loss_val", "loss_epoch",
    "train_loss_epoch", "train/loss_epoch", "loss_avg", "main/loss",
)  # fmt: skip
# what stands for the loss where nothing is called one
STAND_INS = (
    "nll", "xent", "cross-entropy", "cross_entropy", "crossentropy", "logloss", "multiclass", "mlogloss", "cost",
    "objective", "rmse", "mse", "mae", "error", "train_error", "perplexity", "ppl",
)  # fmt: skip


def roles_of(names: Iterable[str], known: Mapping[str, Role]) -> dict[str, Role]:
    """The role of every column of a file. `known` wins over what the names say."""
    names = list(names)
    lower = {name: _plain(name) for name in names}
    roles = {name: known.get(name) or _by_name(lower[name], set(lower.values())) for name in names}
    for role, wanted in ((Role.STEP, STEPS), (Role.EPOCH, EPOCHS), (Role.MEMORY, MEMORY), (Role.LOSS, LOSSES)):
        _choose_one(roles, lower, role, wanted, known)
    if not {Role.LOSS, Role.PART, Role.OVERFLOW}.intersection(roles.values()):
        _choose_one(roles, lower, Role.LOSS, STAND_INS, known)
    _choose_grad_norm(roles, lower)
    return roles


def _plain(name: str) -> str:
    """The name without what says nothing: a W&B export has "run - train/loss", a JSON object `metrics/loss`."""
    lower = CAMEL.sub("_", name.strip()).lower().rpartition(" - ")[2]
    bare = lower.removeprefix("metrics/")
    known = bare in (*LOSSES, *STEPS, *EPOCHS) or RATE.search(bare) or GRAD.search(bare)
    return bare if known else lower


def _by_name(name: str, others: set[str]) -> Role:
    """The role one name suggests by itself."""
    if name in SCALES:
        return Role.LOSS_SCALE
    running = name.startswith(("loss_", "grad_norm_")) and name.endswith("_val")  # of a meter, beside loss_avg
    running = running and not any("loss" in other and TRAINING.search(other) for other in others)
    if SCORES.search(name) or (VALIDATION.search(name) and not running):
        return Role.METRIC
    if RATE.search(name) or name.startswith(("x/lr", "lr-", "lr/")):
        return Role.RATE
    if GRAD.search(name):
        return Role.GRAD_NORM
    if "loss" in name and not NOT_A_LOSS.search(name):
        repeated = name.removesuffix("_epoch") + "_step" in others if name.endswith("_epoch") else False
        return Role.NONE if repeated else Role.PART
    return Role.NONE


def _choose_one(
    roles: dict[str, Role], lower: Mapping[str, str], role: Role, wanted: tuple[str, ...], known: Mapping[str, Role]
) -> None:
    """Give `role` to the column whose name comes first in `wanted`, unless the importer or the user named one."""
    if role in known.values():
        return
    rank = {
        name: wanted.index(low)
        for name, low in lower.items()
        if low in wanted and name not in known and roles[name] is not Role.METRIC
    }
    if rank:
        roles[min(rank, key=lambda name: rank[name])] = role


def _choose_grad_norm(roles: dict[str, Role], lower: Mapping[str, str]) -> None:
    """One gradient norm: the shortest name; a value before its running mean, which one NaN spoils for an epoch."""
    found = [name for name, role in roles.items() if role is Role.GRAD_NORM]
    for name in sorted(found, key=lambda n: (lower[n].endswith("avg"), len(n)))[1:]:
        roles[name] = Role.NONE
