"""The limits of what is read and shown of foreign texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.cli.failure import Failure
from monitor.cli.names import SHOWN_MAX, existing_run
from monitor.core.summary import Summary
from monitor.recorded.stream import FIRST_KEY, FIRST_LINE_BYTES_MAX, is_stream
from monitor.report.stack_text import LINE_CHARS_MAX, _thread
from monitor.report.text import TEXT_CHARS_MAX, visible
from monitor.report.top_lines import SENTENCE_CHARS_MAX, top_lines
from monitor.supervisor.terminal import TEXT_MAX, TerminalOutput
from trainer_hooks.wire.dumps import TEXT_CHARS_MAX as DUMP_CHARS_MAX
from trainer_hooks.wire.dumps import parse_dump


def test_a_foreign_text_is_shown_whole_up_to_its_limit_and_cut_with_an_ellipsis_beyond() -> None:
    assert visible("x" * TEXT_CHARS_MAX) == "x" * TEXT_CHARS_MAX
    assert visible("x" * (TEXT_CHARS_MAX + 1)) == "x" * (TEXT_CHARS_MAX - 1) + "…"


def test_of_many_runs_the_error_names_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    names = [f"night-{number}" for number in range(SHOWN_MAX + 2)]
    for at_s, name in enumerate(names, 1):
        (tmp_path / "runs" / name).mkdir(parents=True)
        os.utime(tmp_path / "runs" / name, (at_s, at_s))
    with pytest.raises(Failure) as failure:
        existing_run("zzzzzzzzzz")
    assert f"the latest are {', '.join(names[-SHOWN_MAX:])}" in str(failure.value)
    assert names[-SHOWN_MAX - 1] not in str(failure.value)


def test_the_key_of_a_stream_is_looked_for_in_the_first_bytes_only() -> None:
    most = b"{" + b" " * (FIRST_LINE_BYTES_MAX - 1 - len(FIRST_KEY))
    assert is_stream(most + FIRST_KEY + b": 1}")
    assert not is_stream(most + b" " + FIRST_KEY + b": 1}")


def test_of_a_deep_stack_the_innermost_frames_are_kept() -> None:
    frames = "".join(f'  File "f.py", line {line} in g\n' for line in range(1, DUMP_CHARS_MAX))
    (thread,) = parse_dump(f"Thread 0x01 (most recent call first):\n{frames}", lambda file: file)
    assert len(thread.frames) == DUMP_CHARS_MAX
    assert thread.frames.endswith("  f.py:1 g")


def test_a_frame_longer_than_its_line_is_cut() -> None:
    name, kept, cut = _thread(f"MainThread\n  {'a' * LINE_CHARS_MAX}\n  {'b' * (LINE_CHARS_MAX + 1)}")
    assert name == "- MainThread"
    assert (kept.endswith("a" * LINE_CHARS_MAX), cut.endswith("b" * (LINE_CHARS_MAX - 1) + "…")) == (True, True)


def test_a_sentence_of_the_summary_is_cut_at_its_limit() -> None:
    whole, long = "x" * SENTENCE_CHARS_MAX, "y" * (SENTENCE_CHARS_MAX + 1)
    lines = top_lines(Summary(happened=whole, since=long, cause="", done="", now="", cost="", deadline="", to_do=""))
    assert [line.split("** ")[1] for line in lines] == [whole, "y" * (SENTENCE_CHARS_MAX - 1) + "…"]


def test_a_line_on_the_terminal_is_cut_at_its_limit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = TerminalOutput(tmp_path / "output.log")
    output.notify("x" * TEXT_MAX)
    output.notify("y" * TEXT_MAX + "end")
    assert [line.split(": ")[1] for line in capfd.readouterr().err.splitlines() if ": " in line] == [
        "x" * TEXT_MAX,
        "y" * TEXT_MAX,
    ]
