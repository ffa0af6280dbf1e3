"""What is wrong with a policy, in sentences: value, rule, remedy. Pure; the rules are the models' own JSON Schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import msgspec
from pydantic import ValidationError

from alerts.address import url_problem
from monitor.core.model.section import CONTRADICTION
from monitor.core.policy.alert_settings import CLOCK_PATTERN, MATCHER_PATTERN, NAME_PATTERN
from monitor.core.policy.settings import Policy

Loc = tuple[str | int, ...]
IN_WORDS = {  # what a pattern asks for
    CLOCK_PATTERN: 'a time such as "22:00", in quotes',
    MATCHER_PATTERN: "a line such as severity=critical|warning or run=night-*",
    NAME_PATTERN: "a name of letters, digits, '_' and '-', at most 40 of them",
}
VALUE_CHARS_MAX = 40  # of a wrong value that is shown


class Problem(msgspec.Struct, frozen=True):
    """One mistake: where in the document, and what to say of it."""

    loc: Loc
    text: str


def problems_of(error: ValidationError) -> list[Problem]:
    """Each of pydantic's complaints as a Problem. A value shows only where the field is a number or a switch."""
    schema = Policy.model_json_schema()
    found = []
    for e in error.errors(include_url=False):
        if e["type"] == CONTRADICTION:
            found.append(Problem((*e["loc"], e["ctx"]["key"]), e["msg"]))
        else:
            found.append(Problem(e["loc"], _sentence(schema, e["type"], e["loc"], e["input"])))
    return found


def webhook_problems(policy: Policy) -> list[Problem]:
    """What the model does not judge: webhooks that share a name, and addresses and paths that lead nowhere."""
    found = []
    names = Counter(webhook.name for webhook in policy.webhooks)
    for index, webhook in enumerate(policy.webhooks):
        if problem := url_problem(webhook.url.get_secret_value()):
            found.append(Problem(("webhooks", index, "url"), f"the value {problem}"))
        if names[webhook.name] > 1:
            found.append(
                Problem(
                    ("webhooks", index, "name"),
                    f"{webhook.name!r} names {names[webhook.name]} webhooks; give each its own",
                )
            )
        if webhook.secret_file is not None and not webhook.secret_file.startswith(("/", "~/")):
            found.append(Problem(("webhooks", index, "secret_file"), "is not an absolute path; begin it with / or ~/"))
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """A question, "did you mean 'x'?"; where nothing is near, "the known ones are a, b"."""
    names = list(known)
    if close := get_close_matches(word, names, n=1):
        return f"did you mean {close[0]!r}?"
    return f"the known ones are {', '.join(names)}"


def expected(schema: dict[str, Any]) -> str:
    """What a field takes, from its JSON Schema: "a whole number from 0 to 100", "true or false", ..."""
    if "const" in schema or "enum" in schema:
        return repr(schema["const"]) if "const" in schema else f"one of {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return " or ".join(expected(choice) for choice in schema["anyOf"])
    names_of_types = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "null": "null",
        "string": "a text",
    }
    if pattern := schema.get("pattern"):
        return IN_WORDS.get(pattern, f"a text that matches {pattern}")
    if schema["type"] == "array":
        return "a list: each item on lines of its own, the first of them with '- ' before it"
    if schema["type"] == "object":
        return f"keys indented below it: {', '.join(schema['properties'])}"
    return names_of_types[schema["type"]] + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:,g} to {high:,g}"
    parts = [
        f"{word} {limit:,g}"
        for word, limit in (("from", low), ("above", above), ("up to", high), ("below", below))
        if limit is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _sentence(schema: dict[str, Any], kind: str, loc: Loc, value: object) -> str:
    if kind == "extra_forbidden":
        return _unknown_key(schema, loc)
    field = _schema_at(schema, loc)
    if kind == "missing":
        return f"is missing; write {expected(field)}"
    shown = repr(value)[:VALUE_CHARS_MAX] if _may_show(field) and not isinstance(value, (dict, list)) else "the value"
    if value is None:
        shown = "nothing"
    rule = {
        "model_type": "is not a section",
        "tuple_type": "is not a list",
        "enum": "is not one of its words",
        "string_pattern_mismatch": "has a form that is not allowed",
    }
    return f"{shown} {rule.get(kind) or _rule(field, kind)}; write {'one' if _is_number(field) else ''}{_remedy(field)}"


def _rule(field: dict[str, Any], kind: str) -> str:
    """Too small, too large, or of the wrong kind."""
    if kind in ("greater_than", "greater_than_equal"):
        return "is too small"
    if kind in ("less_than", "less_than_equal"):
        return "is too large"
    plain = next((c for c in field.get("anyOf", [field]) if c.get("type") != "null"), field)
    return f"is not {expected({key: plain[key] for key in ('type', 'const') if key in plain})}"


def _remedy(field: dict[str, Any]) -> str:
    """What follows "write": for numbers the range alone, since the kind was just named."""
    if not _is_number(field):
        return expected(field)
    choices = field.get("anyOf", [field])
    number = next(choice for choice in choices if choice.get("type") != "null")
    return (_range(number) or " without a unit") + (", or null" if len(choices) > 1 else "")


def _is_number(field: dict[str, Any]) -> bool:
    kinds = {choice.get("type") for choice in field.get("anyOf", [field])}
    return "const" not in field and bool(kinds & {"integer", "number"})


def _may_show(field: dict[str, Any]) -> bool:
    """False for texts, lists and sections: an address with a token in it may have been put there."""
    return _is_number(field) or "const" in field or field.get("type") == "boolean"


def _unknown_key(schema: dict[str, Any], loc: Loc) -> str:
    key, section = str(loc[-1]), _schema_at(schema, loc[:-1])
    inside = f"of {'.'.join(str(part) for part in loc[:-1])}" if len(loc) > 1 else "of a policy"
    home = next(
        (name for name, field in schema["properties"].items() if key in _resolve(schema, field).get("properties", {})),
        "",
    )
    if home and not get_close_matches(key, section["properties"], n=1):
        return f"is not a key {inside}; {key!r} belongs below {home!r}"
    return f"is not a key {inside}; {nearest(key, section['properties'])}"


def _schema_at(schema: dict[str, Any], loc: Loc) -> dict[str, Any]:
    field = schema
    for part in loc:
        field = _resolve(schema, field["items"] if isinstance(part, int) else field["properties"][part])
    return field


def _resolve(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """A field's own schema: references followed."""
    target: dict[str, Any] = schema["$defs"][field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else field
    return target
