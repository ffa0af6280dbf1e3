"""A NaN or an infinity among the plain numbers of a checkpoint: damage, an honest record, or not known. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

from monitor.vault.contents import LooseNumber
from monitor.vault.roles import KeyRole, is_model, is_record, is_state, is_walked_last, role_of

Loose: TypeAlias = LooseNumber
_RATES = ("_last_lr", "base_lrs")  # of a torch schedule: what it sets the learning rate to next, or counts from


class Sorted(NamedTuple):
    """The loose numbers by what they mean."""

    faults: tuple[Loose, ...]
    doubtful: tuple[Loose, ...]
    records: tuple[Loose, ...]


def sort_loose(numbers: tuple[Loose, ...], *, is_flat: bool) -> Sorted:
    """`is_flat`: the file is one state_dict, whose keys lie at the top."""
    faults, doubtful, records = [], [], []
    for one in numbers:
        if _is_fault(one):
            faults.append(one)
        elif _is_record(one, is_flat=is_flat):
            records.append(one)
        elif not _is_setting(one):
            doubtful.append(one)
    return Sorted(tuple(faults), tuple(doubtful), tuple(records))


def _is_fault(one: Loose) -> bool:
    if role_of(one.top) is KeyRole.OPTIMIZER:
        of_a_group = one.name.startswith("param_groups.") and math.isnan(one.value)  # the whole file is an optimizer's
        return of_a_group or (not one.is_attribute and ".state." in one.name)
    return "sched" in one.top.lower() and math.isnan(one.value) and any(f".{key}." in one.name for key in _RATES)


def _is_setting(one: Loose) -> bool:
    """A limit that is off is infinite: among the settings of an object or of the optimizer that is usual."""
    if role_of(one.top) is KeyRole.OPTIMIZER:  # of these a NaN, and an infinite rate, is a fault of its own
        return "param_groups." in one.name
    return one.is_attribute and math.isinf(one.value)


def _is_record(one: Loose, *, is_flat: bool) -> bool:
    if _is_setting(one) or (is_flat and one.name == one.top) or is_model(one.top):
        return False
    if is_record(one.name, one.top):
        return True
    if one.is_attribute or is_state(one.name) or "param_groups." in one.name:
        return False
    if is_walked_last(one.top):
        return True
    return not one.in_list and (one.name == one.top or math.isinf(one.value))
