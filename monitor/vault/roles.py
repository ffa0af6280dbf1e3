"""What the names of a checkpoint say its numbers are: weights, optimizer state, or a record of what happened. Pure."""

from __future__ import annotations

import re

from monitor.core.model.frameworks import checkpoint_keys
from trainer_hooks.wire.enums import StrEnum


class KeyRole(StrEnum):
    """What lies below one key at the top of a checkpoint."""

    WEIGHTS = "weights"  # or anything that is not known to be something else
    OPTIMIZER = "optimizer"
    RECORD = "record"  # neither: settings, metrics, states of schedulers and callbacks


_FRAMEWORK_RECORDS = frozenset(key for keys in checkpoint_keys() for key in keys.records)
_RECORDS = frozenset(
    (
        *("args", "cfg", "config", "hparams", "hyper_parameters", "meta", "metadata", "opt", "options", "settings"),
        *("callbacks", "loops", "lr_scheduler", "lr_schedulers", "scaler", "scheduler", "schedulers"),
        *("loss", "losses", "metrics"),
        *("cuda_rng_state", "rng_state", "rng_states"),
        *_FRAMEWORK_RECORDS,
    )
)
_RECORD_WORD = re.compile(  # what a NaN may honestly be recorded under
    r"(^|[^a-z])(loss|losses|acc|accuracy|map\d*|ap\d*|iou|f1|auc|bleu|wer|cer|psnr|ssim|fid|precision|recall|metrics?|"
    r"fitness|score|scores|best|worse|worst|error|err|perplexity|ppl|history|result|results|stopper)([^a-z]|$)"
)
_STATE_WORD = re.compile(
    r"(^|[^a-z])(weights?|bias|biases|kernel|gamma|beta|embeddings?|running_mean|running_var|scale|momentum_buffer|"
    r"exp_avg\w*)([^a-z]|$)"
)
_GROUPS = "param_groups"  # of an optimizer: what is below it is used by its next step
_MODEL = re.compile(
    r"(^|[^a-z])(model|ema|state_dict|net|network|weights|params|parameters|module|generator|discriminator)([^a-z]|$)"
)


def role_of(top: str) -> KeyRole:
    """The role by the key at the top. A flat state_dict has "loss.weight" there, which is a weight."""
    key = top.lower()
    if key.startswith("optim") or key == _GROUPS:
        return KeyRole.OPTIMIZER
    return KeyRole.RECORD if key in _RECORDS else KeyRole.WEIGHTS


def is_walked_last(top: str) -> bool:
    """True for a key whose numbers are judged less strictly: what another key holds too is judged as the other's."""
    return role_of(top) is KeyRole.RECORD or bool(_RECORD_WORD.search(top.lower()))


def is_model(top: str) -> bool:
    """True for a key that says that a model lies below it."""
    return bool(_MODEL.search(top.lower()))


def is_state(name: str) -> bool:
    """True for a name that a layer or an optimizer gives to what it works with."""
    last = [part for part in name.lower().split(".") if part and not part.isdigit()] or [name.lower()]
    return bool(_STATE_WORD.search(last[-1]))


def is_record(name: str, top: str) -> bool:
    """True where a NaN is an honest record of one: the names below the key at the top, or else the key, say so."""
    if top.lower() in _FRAMEWORK_RECORDS:
        return True
    if is_model(top) or _GROUPS in name:
        return False
    below = [part for part in name[len(top) :].lower().split(".") if part and not part.isdigit()] or [top.lower()]
    return not is_state(below[-1]) and any(_RECORD_WORD.search(part) for part in below)
