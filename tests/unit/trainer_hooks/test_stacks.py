from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer_hooks.stacks import FRAMES_MAX, TEXT_CHARS_MAX, THREADS_MAX, describe_threads, shorten


@pytest.fixture
def waiting() -> Iterator[threading.Event]:
    """Threads that wait for it end with the test."""
    event = threading.Event()
    yield event
    event.set()


def started(name: str, run: object) -> threading.Thread:
    began = threading.Event()

    def body() -> None:
        began.set()
        run()  # type: ignore[operator]

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    assert began.wait(10.0)
    return thread


def test_every_thread_is_told_with_its_functions_and_the_main_thread_comes_first(waiting: threading.Event) -> None:
    def wait_for_the_morning() -> None:
        waiting.wait()

    started("a loader", wait_for_the_morning)
    texts = describe_threads()
    assert texts[0].startswith("MainThread\n")
    assert texts[0].splitlines()[-1].endswith(" describe_threads")
    [loader] = [text for text in texts if text.startswith("a loader\n")]
    assert "wait_for_the_morning" in loader
    assert "threading.py:" in loader


def test_no_value_of_a_variable_and_no_line_of_a_source_file_is_told() -> None:
    password = "hunter2" + "-secret"
    told = "\n".join(describe_threads())
    assert password not in told
    assert "describe_threads()" not in told


def test_a_thread_that_is_left_out_is_not_told(waiting: threading.Event) -> None:
    thread = started("the one that asks", waiting.wait)
    assert thread.ident is not None
    assert not any("the one that asks" in text for text in describe_threads(frozenset({thread.ident})))


def test_deep_stacks_and_many_threads_are_bounded(waiting: threading.Event) -> None:
    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            waiting.wait()

    started("deep", lambda: dive(3 * FRAMES_MAX))
    for number in range(THREADS_MAX + 3):
        started(f"thread {number}", waiting.wait)
    texts = describe_threads()
    assert len(texts) == THREADS_MAX + 1
    assert texts[-1].endswith("more threads")
    deep = next(text for text in texts if text.startswith("deep\n"))
    assert "frames further out" in deep
    assert deep.splitlines()[-1].endswith("wait")
    assert all(len(text) <= TEXT_CHARS_MAX + 200 for text in texts)


def test_a_file_is_named_below_the_folder_it_is_imported_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", ["/venv/lib/python3.11/site-packages", "/venv/lib/python3.11"])
    monkeypatch.chdir(tmp_path)
    assert shorten("/venv/lib/python3.11/site-packages/torch/utils/data/dataloader.py") == (
        "torch/utils/data/dataloader.py"
    )
    assert shorten("/venv/lib/python3.11/queue.py") == "queue.py"
    assert shorten(f"{tmp_path}/train.py") == "train.py"
    assert shorten("/elsewhere/private/project/loops/train.py") == "project/loops/train.py"
    assert shorten("<frozen importlib._bootstrap>") == "<frozen importlib._bootstrap>"
