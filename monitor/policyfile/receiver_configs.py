"""The config of a receiver, made of the keys that stand beside its name and kind. An edge file: reads secrets.

The rule for every kind: a key is a field of the config that its notifier is registered with. A field of the type
`Secret` may be written in three ways: `url`, `url_file` (the path of a file that holds it) or `url_env` (the name of an
environment variable). A field `url` is an address for http. What a config's `__post_init__` raises as ValueError is
shown as it is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from alerts import notifiers
from alerts.address import url_problem
from alerts.deliver import Receiver
from alerts.notifiers.webhook import WebhookConfig
from alerts.secret import Secret, SecretError, secrets_in
from monitor.core.policy.alert_settings import Heartbeat, ReceiverSettings, Webhook
from monitor.core.policy.settings import Policy
from monitor.policyfile.messages import Problem, nearest
from monitor.policyfile.secret_files import read_secret_text, read_secrets

VALUES = {
    "str": "a text; write it in quotes",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "array": "a list; write it like [one, two]",
}
LIMITS = {">": "above", ">=": "from", "<": "below", "<=": "up to"}


def receiver_of(settings: ReceiverSettings) -> Receiver:
    """The receiver with its secrets. Raises SecretError, whose text holds no secret, where they can't be read."""
    registered = notifiers.load_all()[settings.kind]
    given = dict(settings.model_extra or {})
    for field in fields(registered.config):
        if is_secret(field) and (secret := secret_value(field.name, given, tuple_wanted=_is_tuple(field))) is not None:
            given[field.name] = secret
    try:
        config = _convert(given, registered.config)
    except msgspec.ValidationError as error:
        raise SecretError(f"receiver {settings.name!r}: {_rule(str(error), registered.config)}") from None
    return Receiver(name=settings.name, kind=settings.kind, config=config)


def receivers_of(policy: Policy, name: str | None = None) -> list[Receiver]:
    """Every receiver with its secrets, or the one of this name alone. Raises SecretError."""
    found = [receiver_of(one) for one in policy.receivers if name in (None, one.name)]
    return found + [_of_webhook(hook) for hook in policy.webhooks if name in (None, hook.name)]


def _of_webhook(hook: Webhook) -> Receiver:
    config = WebhookConfig(
        url=Secret(hook.url.get_secret_value()),
        secrets=read_secrets(hook.secret_file) if hook.secret_file else (),
        timeout_s=hook.timeout_s,
        link_local=hook.allow_link_local,
    )
    return Receiver(name=hook.name, kind="webhook", config=config)


def secret_value(key: str, given: dict[str, Any], *, tuple_wanted: bool = False) -> Secret | tuple[Secret, ...] | None:
    """The secret of `key`, taken out of `given` in whichever way it is written; None: it is not there."""
    inline, path, variable = given.pop(key, None), given.pop(f"{key}_file", None), given.pop(f"{key}_env", None)
    where = path or variable or key
    if path is not None:
        text = read_secret_text(path)
    elif variable is not None:
        text = os.environ.get(variable, "")
    elif inline is not None:
        text = "\n".join(inline) if isinstance(inline, list) else str(inline)
    else:
        return None
    if tuple_wanted:
        return secrets_in(text, where)
    if not text.strip():
        remedy = "set it where the daemon starts, or use a file" if variable else "write the secret into it"
        raise SecretError(f"{where}: is empty or not set; {remedy}")
    return Secret(text.strip())


def heartbeat_url(settings: Heartbeat) -> Secret | None:
    """The address of a heartbeat; None: there is none. Raises SecretError where it can't be read or leads nowhere."""
    inline = settings.url.get_secret_value() if settings.url is not None else None
    given = {"url": inline, "url_file": settings.url_file, "url_env": settings.url_env}
    found = secret_value("url", given)
    if found is None:
        return None
    assert isinstance(found, Secret), "one address was asked for"
    if problem := url_problem(found.reveal()):
        raise SecretError(f"heartbeat: the value {problem}")
    return found


def receiver_problems(policy: Policy) -> list[Problem]:
    """What is wrong with receivers and routes, without a look at the files that hold secrets."""
    names = Counter(policy.receiver_names)
    found = [problem for index, one in enumerate(policy.receivers) for problem in _of_receiver(index, one, names)]
    for number, route in enumerate(policy.routes):
        found += [
            Problem(("routes", number, "receivers", index), f"no receiver has this name; {nearest(name, names)}")
            for index, name in enumerate(route.receivers)
            if name not in names
        ]
    return found


def unusable_receivers(policy: Policy) -> list[str]:
    """One sentence for each receiver whose secret can't be read here and now, or whose library refuses it."""
    found = []
    for index, one in enumerate(policy.receivers):
        try:
            receiver = receiver_of(one)
        except SecretError as error:
            found.append(f"receivers.{index}: {error}")
            continue
        ask = notifiers.load_all()[receiver.kind].refusal
        if ask is not None and (why := ask(receiver.config)):
            found.append(f"receivers.{index}: receiver {one.name!r}: {why}")
    try:
        heartbeat_url(policy.heartbeat)
    except SecretError as error:
        found.append(f"heartbeat: {error}".replace("heartbeat: heartbeat: ", "heartbeat: "))
    return found


def _of_receiver(index: int, settings: ReceiverSettings, names: Mapping[str, int]) -> Iterator[Problem]:
    here = ("receivers", index)
    if names[settings.name] > 1:
        yield Problem((*here, "name"), f"{settings.name!r} names {names[settings.name]} receivers; give each its own")
    kinds = notifiers.load_all()
    if settings.kind not in kinds:
        yield Problem((*here, "kind"), f"{settings.kind!r} is not a kind of receiver; {nearest(settings.kind, kinds)}")
        return
    config, given = kinds[settings.kind].config, dict(settings.model_extra or {})
    keys = [key for field in fields(config) for key in keys_of(field)]
    for key in sorted(set(given) - set(keys)):
        yield Problem((*here, key), f"is not a key of a receiver of kind {settings.kind!r}; {nearest(key, keys)}")
    wrong = [problem for field in fields(config) for problem in _of_field(here, field, given)]
    yield from wrong
    if not wrong:
        yield from _of_values(here, config, {key: value for key, value in given.items() if key in keys})


def _of_field(here: tuple[str | int, ...], field: FieldInfo, given: dict[str, Any]) -> Iterator[Problem]:
    written = [key for key in keys_of(field) if given.get(key) is not None]
    if not written and field.required:
        yield Problem(here, f"{field.name!r} is missing; write {' or '.join(keys_of(field))}")
    if len(written) > 1:
        yield Problem((*here, written[1]), f"{' and '.join(written)} give the same value; keep one of them")
    for key in written:
        if key.endswith("_file") and is_secret(field) and not str(given[key]).startswith(("/", "~/")):
            yield Problem((*here, key), "is not an absolute path; begin it with / or ~/")
        if key == "url" and isinstance(given[key], str) and (problem := url_problem(given[key])):
            yield Problem((*here, key), f"the value {problem}")


def _of_values(here: tuple[str | int, ...], config: type, given: dict[str, Any]) -> Iterator[Problem]:
    """Convert it with a placeholder for each secret: an error then names a wrong type, and never a secret."""
    for field in fields(config):
        if is_secret(field) and any(given.pop(key, None) is not None for key in keys_of(field)):
            given[field.name] = (Secret("x" * 32),) if _is_tuple(field) else Secret("https://example.org")
    try:
        _convert(given, config)
    except msgspec.ValidationError as error:
        yield Problem(here, _rule(str(error), config))


def _convert(given: dict[str, Any], config: type) -> object:
    return msgspec.convert(given, config, dec_hook=lambda _, value: value)


def _rule(text: str, config: type) -> str:
    """Msgspec's "Expected `str`, got `int` - at `$.topic`" as one of our sentences."""
    what, _, place = text.partition(" - at `$")
    key = place.strip("`.").partition("[")[0]
    if what.startswith("Invalid enum value"):
        allowed = next(get_args(plain_type(field)) for field in fields(config) if field.name == key)
        return f"{key}: is not one of its words; write one of {', '.join(allowed)}"
    if not what.startswith("Expected `"):
        return what
    wanted, _, limit = what.removeprefix("Expected `").partition("`")
    if limit.startswith(" of length"):
        return f"{key}: is empty; write {'at least one' if wanted == 'array' else 'a text'}"
    values = " or ".join(VALUES.get(one.strip(), one.strip()) for one in wanted.split("|"))
    sign, _, number = limit.strip().partition(" ")
    return f"{key}: is not {values}{f' {LIMITS[sign]} {float(number):,g}' if sign in LIMITS else ''}"


def keys_of(field: FieldInfo) -> list[str]:
    """The keys that a field may be written as."""
    return [field.name, f"{field.name}_file", f"{field.name}_env"] if is_secret(field) else [field.name]


def is_secret(field: FieldInfo) -> bool:
    """True where a config's field holds one secret or several."""
    plain = plain_type(field)
    return plain is Secret or Secret in get_args(plain)


def _is_tuple(field: FieldInfo) -> bool:
    return is_secret(field) and Ellipsis in get_args(plain_type(field))


def plain_type(field: FieldInfo) -> Any:
    """The type of a field, without what is said of it."""
    return get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type


def meta_of(field: FieldInfo) -> msgspec.Meta:
    """What is said of a field: its description, whether `alerts setup` asks for it, its limits."""
    found = get_args(field.type)[1:] if get_origin(field.type) is Annotated else ()
    return next((one for one in found if isinstance(one, msgspec.Meta)), msgspec.Meta())
