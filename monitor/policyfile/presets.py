"""The policies that are shipped, as commented YAML. Their text is made from the settings' own descriptions. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from textwrap import wrap
from typing import get_args

from pydantic.fields import FieldInfo

from monitor.core.model.section import InPreset, Preset, Section
from monitor.core.policy.settings import Policy

WIDTH = 110  # characters of a line of comment
INDENT = "  "

HEADERS = {
    Preset.DEFAULT: "The policy that holds when none is given. Copy it, change what you need and leave out the rest: a "
    "key that is left out keeps the value written here. Start a run with it:\n"
    "trainwarden run --policy policy.yaml -- python train.py",
    Preset.OBSERVE: "Watches and alerts, and never acts: for a first run beside a training that nothing may touch. "
    "Everything else is as in the preset default, so the report shows what would have been done.",
    Preset.STRICT: "Acts early and trusts late: for a run where a lost night costs more than an epoch trained twice. "
    "Everything that is not written here is as in the preset default.",
    Preset.ROLLBACK: "Stops and goes back to the newest clean checkpoint, with strengthened settings, when too many "
    "batches are not finite, even where the guard kept the state clean. Everything that is not written here is as in "
    "the preset default.",
}


def preset_text(preset: Preset) -> str:
    """The text of a preset: the default one has every key, the others have what differs from it."""
    lines = [*_comment(HEADERS[preset], ""), *_version()]
    lines += _complete(Policy(), "") if preset is Preset.DEFAULT else _differences(Policy(), preset, "")
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """A value as YAML writes it."""
    text = json.dumps(value)
    return re.sub(r"^(-?\d+)e", r"\1.0e", text)  # YAML 1.1 takes a number with an exponent but no point for a text


def _version() -> list[str]:
    return [f"version: {Policy().version}", ""]


def _complete(section: Section, indent: str) -> Iterator[str]:
    """Every setting below its description; `enabled` has the same one everywhere, and shows it in no section."""
    for name, field in type(section).model_fields.items():
        if name == "version":
            continue
        value = getattr(section, name)
        if name != "enabled":
            yield from _comment(field.description or "", indent)
        if isinstance(value, Section):
            yield f"{indent}{name}:"
            yield from _complete(value, indent + INDENT)
        elif isinstance(value, tuple):
            yield f"{indent}{name}: []"
            yield from _example(field, indent)
        else:
            yield f"{indent}{name}: {scalar(value)}"
        if not indent:
            yield ""


def _example(field: FieldInfo, indent: str) -> Iterator[str]:
    """One item of a list of sections, as a comment."""
    item = get_args(field.annotation)[0]
    start = "- "
    for name, inner in item.model_fields.items():
        yield from (f"#{INDENT}{INDENT}{line}" for line in _comment(inner.description or "", indent))
        value = inner.examples[0] if inner.examples else inner.default
        yield f"#{INDENT}{indent}{start}{name}: {value}"
        start = INDENT
    yield from (f"#{INDENT}{indent}{INDENT}{name}: {value}" for name, value in getattr(item, "EXAMPLE", {}).items())


def _differences(section: Section, preset: Preset, indent: str) -> list[str]:
    """What the preset changes, each below its reason."""
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section) and (inside := _differences(value, preset, indent + INDENT)):
            lines += [f"{indent}{name}:", *inside, *([] if indent else [""])]
        for change in field.metadata:
            if isinstance(change, InPreset) and change.preset is preset:
                lines += [*_comment(change.reason, indent), f"{indent}{name}: {scalar(change.value)}"]
    return lines


def _comment(text: str, indent: str) -> list[str]:
    lines = (line for part in text.split("\n") for line in wrap(part, WIDTH - len(indent), break_on_hyphens=False))
    return [f"{indent}# {line}" for line in lines]
