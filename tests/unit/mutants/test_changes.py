"""The mutants' own parts: which changes are made, that each is one, and that the named ones fit the code as it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.changes import changes
from tests.mutants.named import Named, in_place
from tests.mutants.quick_tests import quick_tests

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = '''"""A docstring 1 < 2."""
LIMIT = 4


class Box:
    size: int = 3

    def full(self, count: int = 7) -> bool:
        """It says 5 > 4."""
        self.seen = count
        if not self.open and count >= self.size:
            return True
        if count < 0:
            return None
        return count in (1, 2) or "ü" == str(count)
'''


def test_every_change_is_a_program_and_none_is_the_same() -> None:
    texts = [change.applied(SAMPLE) for change in changes(SAMPLE)]
    assert len(set(texts)) == len(texts)
    assert SAMPLE not in texts
    for text in texts:
        ast.parse(text)


@pytest.mark.parametrize(
    "changed",
    [
        "LIMIT = 5", "LIMIT = 3", "size: int = 2", "        pass\n", "if self.open and", "open or count",
        "count > self.size", "return False", "return None", "count not in (1", ' and "ü"', '"ü" != str',
    ],
)  # fmt: skip
def test_it_is_among_them(changed: str) -> None:
    assert any(changed in change.applied(SAMPLE) for change in changes(SAMPLE))


def test_words_and_declarations_are_left_alone() -> None:
    for change in changes(SAMPLE):
        assert '"""A docstring 1 < 2."""' in change.applied(SAMPLE)
        assert "count: int = 7" in change.applied(SAMPLE)
        assert "It says 5 > 4" in change.applied(SAMPLE)


def test_every_named_change_fits_the_code_as_it_is() -> None:
    assert in_place(ROOT) == []


def test_a_named_change_whose_text_is_gone_is_refused() -> None:
    with pytest.raises(ValueError, match="0 times and not once"):
        Named("n", "f.py", "gone", "", ()).applied("text")


@pytest.mark.parametrize("file", ["monitor/core/policy/trust.py", "monitor/vault/inert.py", "monitor/core/engine.py"])
def test_the_tests_of_a_file_are_found(file: str) -> None:
    found = quick_tests(ROOT, file)
    assert found
    assert all((ROOT / test).is_file() for test in found)
