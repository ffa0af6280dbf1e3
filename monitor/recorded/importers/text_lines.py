"""Lines of text with names and numbers: llm.c, nanoGPT, Swin, MMDetection, fairseq, the print() of any script.

A line that says only where the training is (`--> STEP: 12/200`, `epoch: 3`) holds for the lines below it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.line_numbers import PLACES, TRAINING, VALIDATION, numbers_of, overflow_in
from monitor.recorded.importers.nan_sentences import reports_nan

LOSS = re.compile(rb"loss|nll", re.IGNORECASE)
LIKE_A_LOSS = re.compile(rb"perplexity|ppl|cross[-_ ]?entropy|xent|\bcost\b|\bm[sa]e\b|\brmse\b", re.IGNORECASE)
NUMBER = re.compile(rb"\d")
BESIDE = re.compile(rb"norm|\blr\b|learning[ _]rate|scale", re.IGNORECASE)  # on lines of their own, beside a loss
OVERFLOW = re.compile(rb"overflow", re.IGNORECASE)
# "loss 2,25", or "loss 2,500" beside "0,001": 2,500 alone may be two thousand and five hundred
COMMA_LOSS = re.compile(
    rb"loss.*(?<![\d.,])0,\d+(?!,?\d)|loss\w*[\"']?\s*[:=]?\s*[-+]?(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?!,?\d)",
    re.IGNORECASE,
)
POINT_LOSS = re.compile(rb"loss\w*[\"']?\s*[:=]?\s*[-+]?\d+\.\d", re.IGNORECASE)
DECIMAL_COMMA = re.compile(rb"(?<![\d.,])(\d+),(\d+)(?!,?\d)")
PLACE = re.compile(rb"epoch|step|iter|train|eval|valid|test", re.IGNORECASE)
CONTROLS = bytes(code for code in range(1, 32) if code not in b"\t\n\x0b\x0c\r\x08\x1b\x07")  # no text has them
LINE_CHARS_MAX = 4000  # a training line has a few hundred
HEADING_CHARS_MAX = 120
TIMES = {"time": Role.BATCH_S, "data_time": Role.DATA_S, "data": Role.DATA_S}
ROLES = {**TIMES, "overflow": Role.OVERFLOW}


def _text(head: bytes, _: str) -> bool:
    written = head.replace(b"\0", b"")  # a crash leaves holes of zeros in a log
    return len(written) - len(written.translate(None, CONTROLS)) < len(written) / 20


@register("text", rank=100, recognises=_text)
def text_lines(content: Content, _: str) -> Log:
    """Each line that has a loss or, after the first such line, a norm; and each step that a loss scaler skipped."""
    return Log(text_samples(content), ROLES)


def text_samples(content: Content) -> Iterator[Sample]:
    """The numbers of each training step. Where no line says where the training is, each line with a loss is one."""
    lines = [line for line in content.head.splitlines() if len(line) <= LINE_CHARS_MAX]
    loss = _words_of_a_loss(lines)
    placed = any(_has_place(line) for line in lines if loss.search(line) or PLACE.search(line))
    commas = sum(map(bool, map(COMMA_LOSS.search, lines))) > sum(map(bool, map(POINT_LOSS.search, lines)))
    return _Reader(loss, placed=placed, commas=commas).samples(content)


def _words_of_a_loss(lines: list[bytes]) -> re.Pattern[bytes]:
    """What a line with a loss has: the word; else what may stand for it; else any number, for --map to name it."""
    if any(map(LOSS.search, lines)):
        return LOSS
    placed = [line for line in lines if NUMBER.search(line) and _has_place(line)]
    if any(map(LIKE_A_LOSS.search, placed)):
        return LIKE_A_LOSS
    return NUMBER if placed else LOSS


def _has_place(line: bytes) -> bool:
    return not PLACES.isdisjoint(numbers_of(_plain(line)))


def _plain(line: bytes) -> str:
    """The text without the zeros that a crash leaves."""
    line = line.replace(b"\0", b"") if b"\0" in line else line
    return line.decode("utf-8", "replace")


@dataclass(slots=True)
class _Reader:
    """Reads line after line, and keeps where the training is."""

    loss: re.Pattern[bytes]
    placed: bool  # some line says where the training is
    commas: bool  # numbers have decimal commas
    _epoch: dict[str, float] = field(default_factory=dict)  # of the heading above, where there is one
    _place: dict[str, float] = field(default_factory=dict)
    _block: dict[str, float] = field(default_factory=dict)  # the numbers below it, so far
    _block_line: int = 0
    _block_has_loss: bool = False
    _indexed: bool = False  # there was a line with a loss
    _validating: bool = False
    _before: dict[str, float] = field(default_factory=dict)  # the step before

    def samples(self, content: Content) -> Iterator[Sample]:
        """Every sample of the file."""
        for number, values in self._steps(content):
            if self._losses_in(values):
                self._before = values
            yield number, values

    def _steps(self, content: Content) -> Iterator[Sample]:
        for number, raw in enumerate(content.lines(), 1):
            line = raw.replace(b"\0", b"") if b"\0" in raw else raw
            line = DECIMAL_COMMA.sub(rb"\1.\2", line) if self.commas else line
            if len(line) > LINE_CHARS_MAX:
                continue
            if OVERFLOW.search(line) and (scale := overflow_in(_plain(line))):
                yield from self._ended_block()
                yield number, {**scale, **numbers_of_place(_plain(line))}
            elif self._before and not self._validating and self._reports_nan(line):
                yield from self._ended_block()
                yield number, self._nan_step()
            elif self.loss.search(line):
                yield from self._with_loss(number, numbers_of(_plain(line)))
            elif self._indexed and b"norm" in line.lower() and not self._block:
                values = numbers_of(_plain(line))
                if not PLACES.isdisjoint(values):
                    yield number, {**self._epoch, **values}
            elif self._place and BESIDE.search(line):
                self._add(number, numbers_of(_plain(line)))
            elif len(line) <= HEADING_CHARS_MAX and PLACE.search(line):
                yield from self._heading(_plain(line))
        yield from self._ended_block()

    def _with_loss(self, number: int, values: dict[str, float]) -> Iterator[Sample]:
        own = PLACES.intersection(values)
        if own or not self.placed:
            yield from self._ended_block()
            if len(values) > len(own) and (len(values) > 1 or not self.placed):
                self._indexed = True
                yield number, ({**self._epoch, **values} if own else values)
        elif self._place and values:
            if not self._block.keys().isdisjoint(values):
                yield from self._ended_block()
            self._add(number, values)
            self._block_has_loss = True

    def _reports_nan(self, line: bytes) -> bool:
        """A sentence, and no row with numbers of its own."""
        if not reports_nan(line):
            return False
        values = numbers_of(_plain(line))
        return not self._losses_in(values) or PLACES.isdisjoint(values)

    def _nan_step(self) -> dict[str, float]:
        """The step before once more, with what a loss is now."""
        places = {name: value for name, value in self._before.items() if name in PLACES}
        return {**places, **dict.fromkeys(self._losses_in(self._before), math.nan)}

    def _losses_in(self, values: dict[str, float]) -> list[str]:
        return [name for name in values if "loss" in name and not name.startswith("val")]

    def _add(self, number: int, values: dict[str, float]) -> None:
        """Numbers that belong to the heading above."""
        if self._validating:
            values = {name if name.startswith("val") else f"val/{name}": value for name, value in values.items()}
        if self._place and values and PLACES.isdisjoint(values):
            self._block_line = self._block_line or number
            self._block.update({name: value for name, value in values.items() if name not in self._block})

    def _heading(self, line: str) -> Iterator[Sample]:
        places = numbers_of_place(line)
        if places:
            yield from self._ended_block()
            if "epoch" in places:
                self._epoch, self._validating = {"epoch": places["epoch"]}, False
            self._place = {**self._epoch, **places}
        elif TRAINING.search(line):
            self._validating = False
        elif VALIDATION.search(line):
            yield from self._ended_block()
            self._validating = True

    def _ended_block(self) -> Iterator[Sample]:
        if self._block_has_loss:
            yield self._block_line, {**self._place, **self._block}
        self._block, self._block_line, self._block_has_loss = {}, 0, False


def numbers_of_place(line: str) -> dict[str, float]:
    """Only where the training is."""
    return {name: value for name, value in numbers_of(line).items() if name in PLACES}
