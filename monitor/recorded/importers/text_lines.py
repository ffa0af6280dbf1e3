"""Lines of text with names and numbers: llm.c, nanoGPT, Swin, MMDetection, OLMo, Coqui, nnU-Net, the print() of any script.

A line that names only where the training is (`--> STEP: 12/200`, `epoch: 3`) holds for the lines that follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.words import ANY_NUMBER, number_of

WORD = re.compile(rb"loss|nll|norm|epoch|step|iter", re.IGNORECASE)
NAME = r"[A-Za-z_][\w@/]*(?: (?:loss|norm|rate|scale|mem))?"  # at most two words: "lm loss", "grad norm"
PAIR = re.compile(
    rf"(?P<name>{NAME})(?:\s*[:=]\s*|\s+)(?P<value>{ANY_NUMBER})(?![\w.]*[A-Za-z]{{3}})(?=$|[^\d])", re.IGNORECASE
)
COUNTED = re.compile(
    r"\b(epoch|train|iter|iteration|step)s?(?:\(train\))?:?\s*\[?\s*(\d+)(?:/\d+)?\](?:\s*\[\s*(\d+)\s*/\s*\d+\s*\])?",
    re.IGNORECASE,
)
FRACTION = re.compile(r"\b(epoch|iter|iteration|step)s?[:=]?\s*(\d+)\s*/\s*\d+", re.IGNORECASE)
VALIDATION = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|evaluation|test(?:ing)?)(?![a-z])", re.IGNORECASE)
TRAINING = re.compile(r"(?<![a-z])(?:train|training)(?![a-z])", re.IGNORECASE)
VAL_PAIR = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|test)[ _/.-](?:\w*loss)", re.IGNORECASE)
COLOUR = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
STEPS = ("step", "iter", "iteration")
PLACES = frozenset({*STEPS, "epoch", "global_step"})
LINE_CHARS_MAX = 4000  # a training line has a few hundred
TIMES = {"time": Role.BATCH_S, "data_time": Role.DATA_S, "data": Role.DATA_S}


def _text(head: bytes, _: str) -> bool:
    return head.count(b"\0") < len(head) / 4  # a crash leaves holes of zeros in a log


@register("text", rank=100, recognises=_text)
def text_lines(content: Content, _: str) -> Log:
    """Each line that names a step, iteration or epoch and has a loss or, after the first such line, a norm."""
    return Log(_samples(content), TIMES)


def _samples(content: Content) -> Iterator[Sample]:
    indexed = False
    for number, line in enumerate(content.lines(), 1):
        if len(line) > LINE_CHARS_MAX or not WORD.search(line):
            continue
        if b"\x1b" in line or b"\0" in line:
            line = COLOUR.sub(b"", line).replace(b"\0", b"")
        lower = line.lower()
        if not (b"loss" in lower or b"nll" in lower or (indexed and b"norm" in lower)):
            continue
        values = numbers_of(line.decode("utf-8", "replace"))
        if len(values) > 1 and not PLACES.isdisjoint(values):
            indexed = True
            yield number, values


def numbers_of(line: str) -> dict[str, float]:
    """The named numbers of one line. Those of a line about validation go by `val/` and their name."""
    values: dict[str, float] = {}
    for found in PAIR.finditer(line):
        name = found["name"].lower()
        if name != "of" and (number := number_of(found["value"])) is not None:  # "number of nan iterations: 0"
            values.setdefault({"iteration": "iter"}.get(name, name), number)
    for found in FRACTION.finditer(line):
        values[{"iteration": "iter"}.get(found[1].lower(), found[1].lower())] = float(found[2])
    for found in COUNTED.finditer(line):
        outer = found[1].lower()
        values["epoch" if outer in ("epoch", "train") else "iter"] = float(found[2])
        if found[3]:
            values["iter"] = float(found[3])
    loss = re.search("loss", line, re.IGNORECASE)
    before = line[: loss.start()] if loss else line
    if VALIDATION.search(before) and not TRAINING.search(line) and not VAL_PAIR.search(line):
        return {name if name in (*STEPS, "epoch") else f"val/{name}": number for name, number in values.items()}
    return values
