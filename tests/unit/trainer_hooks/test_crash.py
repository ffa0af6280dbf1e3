"""What is said of an exception: its type, its message, the last line of the user's own; never a value."""

from __future__ import annotations

import json

from trainer_hooks.crash import LINE_CHARS_MAX, MESSAGE_CHARS_MAX, describe_exception


def caught(work: object) -> BaseException:
    try:
        work()  # type: ignore[operator]
    except BaseException as error:  # noqa: BLE001 - whatever the test raises
        return error
    raise AssertionError


def test_the_last_line_of_the_users_own_is_named_where_a_library_raised() -> None:
    def reads_settings() -> None:
        password = "hunter2"
        json.loads("{" + password)

    text = describe_exception(caught(reads_settings))
    assert text.startswith("JSONDecodeError: ")
    assert f"{__file__}:" in text
    assert text.endswith('in reads_settings: json.loads("{" + password)')
    assert "hunter2" not in text


def test_a_message_that_can_not_be_read_and_an_exception_without_a_traceback_cost_nothing() -> None:
    class Strange(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not today")

    assert describe_exception(Strange()) == "Strange (its message can't be read)"
    assert describe_exception(ValueError()) == "ValueError"
    assert describe_exception(ValueError("a\nb")) == "ValueError: a b"


def test_a_long_message_and_a_long_line_are_cut_at_their_limits() -> None:
    assert describe_exception(ValueError("x" * MESSAGE_CHARS_MAX)) == f"ValueError: {'x' * MESSAGE_CHARS_MAX}"
    assert describe_exception(ValueError("x" * (MESSAGE_CHARS_MAX + 1))).endswith("x...")

    def long() -> None:
        raise ValueError(0 if "a quite long condition, only there for its length" else "and it is longer than what is shown of it")  # noqa: E501 # fmt: skip

    line = describe_exception(caught(long)).partition(" in long: ")[2]
    assert len(line) == LINE_CHARS_MAX


def test_the_users_call_is_named_where_nothing_below_it_is_the_users_own() -> None:
    said: list[str] = []

    def hook() -> None:
        namespace: dict[str, object] = {"describe": lambda error: said.append(describe_exception(error))}
        code = "def train():\n    try:\n        {}['x']\n    except KeyError as error:\n        describe(error)\n"
        exec(compile(code, "/opt/site-packages/library/train.py", "exec"), namespace)
        namespace["train"]()  # type: ignore[operator]

    hook()
    assert said[0].startswith(f"KeyError: 'x', at {__file__}:")
    assert " in hook: " in said[0]
