from __future__ import annotations

import json
import pickle

import msgspec
import pytest

from alerts import enums as of_alerts
from trainer_hooks.wire import enums


class Kind(enums.StrEnum):
    NAN = "nan"
    NOTHING = ""


class Severity(of_alerts.StrEnum):
    NAN = "nan"
    NOTHING = ""


@pytest.mark.parametrize("kind", [Kind, Severity])
def test_a_string_enum_reads_as_its_value_everywhere(kind: type[Kind | Severity]) -> None:
    assert str(kind.NAN) == f"{kind.NAN}" == "{}".format(kind.NAN) == "%s" % kind.NAN == "nan"  # noqa: UP031, UP032
    assert f"{kind.NAN:>5}" == "  nan"
    assert "".join([kind.NAN, "-"]) == "nan-"
    assert kind.NAN == "nan"
    assert hash(kind.NAN) == hash("nan")
    assert not kind.NOTHING


@pytest.mark.parametrize("kind", [Kind, Severity])
def test_a_string_enum_is_its_value_on_the_wire(kind: type[Kind | Severity]) -> None:
    assert json.dumps(kind.NAN) == '"nan"'
    encoded = msgspec.msgpack.encode(kind.NAN)
    assert encoded == msgspec.msgpack.encode("nan")
    assert msgspec.msgpack.decode(encoded, type=kind) is kind.NAN
    assert pickle.loads(pickle.dumps(kind.NAN)) is kind.NAN
