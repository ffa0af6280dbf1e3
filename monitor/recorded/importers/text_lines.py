"""Lines of text with names and numbers: llm.c, nanoGPT, Megatron, Swin, MMDetection, the print() of any script."""

from __future__ import annotations

import re

from monitor.recorded.importers import register
from monitor.recorded.importers.imported_run import Log, Role, Sample

WORD = re.compile(rb"loss|nll", re.IGNORECASE)
PAIR = re.compile(
    r"(?P<name>[A-Za-z_][\w@/]*(?: (?:loss|norm|rate|scale|mem))?)"  # at most two words: "lm loss", "grad norm"
    r"(?:\s*[:=]\s*|\s+)"
    r"(?P<value>[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+|nan|inf(?:inity)?))"
    r"(?![\w.]*[A-Za-z]{3})(?=$|[^\d])",
    re.IGNORECASE,
)
COUNTED = re.compile(
    r"\b(epoch|train|iter|iteration|step)s?(?:\(train\))?:?\s*\[?\s*(\d+)(?:/\d+)?\](?:\s*\[\s*(\d+)\s*/\s*\d+\s*\])?",
    re.IGNORECASE,
)
FRACTION = re.compile(r"\b(epoch|iter|iteration|step):?\s*(\d+)\s*/\s*\d+", re.IGNORECASE)
VALIDATION = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|evaluation|test(?:ing)?)(?![a-z])", re.IGNORECASE)
TRAINING = re.compile(r"(?<![a-z])(?:train|training)(?![a-z])", re.IGNORECASE)
VAL_PAIR = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|test)[ _/.-](?:\w*loss)", re.IGNORECASE)
STEPS = ("step", "iter", "iteration")
LINE_CHARS_MAX = 4000  # a training line has a few hundred
TIMES = {"time": Role.BATCH_S, "data_time": Role.DATA_S, "data": Role.DATA_S}


def _text(head: bytes, _: str) -> bool:
    return head.count(b"\0") < len(head) / 4  # a crash leaves holes of zeros in a log


@register("text", rank=100, recognises=_text)
def text_lines(data: bytes, _: str) -> Log:
    """Each line that names a step, iteration or epoch and has a loss or, after the first such line, a norm."""
    samples: list[Sample] = []
    indexed = False
    for number, line in enumerate(data.replace(b"\r", b"\n").replace(b"\0", b"").splitlines(), 1):
        if len(line) > LINE_CHARS_MAX or not (WORD.search(line) or (indexed and b"norm" in line)):
            continue
        values = numbers_of(line.decode("utf-8", "replace"))
        if len(values) > 1 and any(name in values for name in (*STEPS, "epoch")):
            indexed = True
            samples.append((number, values))
    return Log(samples, {name: role for name, role in TIMES.items() if any(name in v for _, v in samples)})


def numbers_of(line: str) -> dict[str, float]:
    """The named numbers of one line. Those of a line about validation go by `val/` and their name."""
    values: dict[str, float] = {}
    for found in PAIR.finditer(line):
        name = found["name"].lower()
        if name != "of":  # "number of nan iterations: 0"
            values.setdefault({"iteration": "iter"}.get(name, name), float(found["value"]))
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
