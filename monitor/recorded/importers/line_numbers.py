"""The named numbers of one line of text, by the habits of many scripts. Pure."""

from __future__ import annotations

import re

from monitor.recorded.importers.words import ANY_NUMBER, NUMBER, number_of

NAME = r"loss train(?: \(curr\))?|[A-Za-z_][\w@/]*(?: (?:loss|norm|rate|scale|mem))?"  # "lm loss", "grad norm"
PAIR = re.compile(
    rf"(?P<name>{NAME})(?:[\"']?\s*[:=]\s*|\s+(?:is )?)(?=[-+.\dnita\u221e])"
    rf"(?:(?:tf\.)?(?:tensor|array)\(\[*|np\.float\d+\()?(?P<value>{ANY_NUMBER})"
    r"(?![\w.]*[A-Za-z]{3})(?=$|[^\d])",
    re.IGNORECASE,
)
COUNTED = re.compile(
    r"\b(epoch|train|iter|iteration|step)s?(?:\(train\))?:?\s*\[?\s*(\d+)(?:/\d+)?\](?:\s*\[\s*(\d+)\s*/\s*\d+\s*\])?",
    re.IGNORECASE,
)
OF_EPOCH = re.compile(r"\b(?:epoch|train(?:ing)?)s?:?\s*(\d+)\s*\[\s*(\d+)\s*/\s*\d+", re.IGNORECASE)
FRACTION = re.compile(r"\b(epoch|iter|iteration|step)s?[:=]?\s*(\d+)\s*/\s*\d+", re.IGNORECASE)
BAR = re.compile(  # of tqdm: "Epoch 1:  10%|#   | 10/100 [00:01<...", "Steps:   1%|   | 12/1000 [..."
    r"\b(?P<label>epoch|step|iter|iteration)s?(?:\s+(?P<number>\d+)(?:/\d+)?)?:\s+\d+%\|[^|]*\|\s*(?P<at>\d+)/\d+ \[",
    re.IGNORECASE,
)
BATCH = re.compile(r"(?<![\w/])batch\s*[:=]?\s*\[?\s*(?:\d+-)?(\d+)\s*(?:/\s*\d+)?\]?(?![\w.])", re.IGNORECASE)
# not of a file: "train.py:300] eval epoch: 1, loss: 2.4"
VALIDATION = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|evaluation|test(?:ing)?)(?![a-z]|\.py)", re.IGNORECASE)
TRAINING = re.compile(r"(?<![a-z])(?:train|training)(?![a-z]|\.py)", re.IGNORECASE)
VAL_PAIR = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|test)[ _/.-](?:\w*loss)", re.IGNORECASE)
SKIPPED = re.compile(
    rf"overflow.{{0,120}}?(?:loss scale to:?|attempted loss scale:)\s*({NUMBER})(?:.*?reducing to ({NUMBER}))?",
    re.IGNORECASE,
)
SAME = {
    "iteration": "iter", "iterations": "iter", "iters": "iter", "itr": "iter", "it": "iter", "steps": "step",
    "ep": "epoch", "updates": "num_updates", "update": "num_updates", "loss train": "loss", "loss train (curr)": "loss",
}  # fmt: skip
PLACES = frozenset({"step", "iter", "epoch", "global_step", "num_updates", "batch"})
THOUSANDS = re.compile(r"(?<=[\s:=(\[])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")  # "step 12,500"
# a line that a crash cut, and the first one of the training that went on in its file: "loss 2.3step 1 loss"
GLUED = re.compile(r"loss\W{1,4}\d*\.?\d*(?=(?:epoch|step|iter)\b)", re.IGNORECASE)
OF_A_SET = re.compile(r"\b(loss) ?\((train|training|val|valid|validation|test|eval)\)", re.IGNORECASE)  # "loss(val)"
WIDE = str.maketrans({"\uff1a": ":", "\uff0c": ",", "\uff1d": "="})  # as they are written in Chinese


def numbers_of(line: str) -> dict[str, float]:
    """The named numbers of one line. Those of a line about validation go by `val/` and their name."""
    line = line if line.isascii() else line.translate(WIDE)
    line = THOUSANDS.sub(lambda found: found[0].replace(",", ""), line) if "," in line else line
    if glued := GLUED.search(line):
        line = line[glued.end() :]
    line = OF_A_SET.sub(r"\2_loss", line) if "(" in line else line
    values: dict[str, float] = {}
    for found in PAIR.finditer(line):
        name = found["name"].lower()
        if name != "of" and (number := number_of(found["value"])) is not None:  # "number of nan iterations: 0"
            values.setdefault(SAME.get(name, name), number)
    for found in FRACTION.finditer(line) if "/" in line else ():
        values[SAME.get(found[1].lower(), found[1].lower())] = float(found[2])
    for found in COUNTED.finditer(line) if "]" in line else ():
        outer = found[1].lower()
        values["epoch" if outer in ("epoch", "train") else "iter"] = float(found[2])
        if found[3]:
            values["iter"] = float(found[3])
    if "[" in line and (of_epoch := OF_EPOCH.search(line)):  # "Train Epoch: 1 [640/60000 (1%)]"
        values["epoch"], values["iter"] = float(of_epoch[1]), float(of_epoch[2])
    if "%|" in line and (bar := BAR.search(line)):
        values.update(_place_of(bar))
    if ("atch" in line or "ATCH" in line) and (batch := BATCH.search(line)):
        values["batch"] = float(batch[1])
    if "train" in values and PLACES.isdisjoint(values) and values["train"].is_integer():
        values["step"] = values.pop("train")  # "Train 100, loss: 0.5"
    loss = re.search("loss", line, re.IGNORECASE)
    before = line[: loss.start()] if loss else line
    if VALIDATION.search(before) and not TRAINING.search(line) and not VAL_PAIR.search(line):
        return {name if name in PLACES else f"val/{name}": number for name, number in values.items()}
    return values


def _place_of(bar: re.Match[str]) -> dict[str, float]:
    """Where the training is by a progress bar: it counts what it is labelled with, or the steps of one epoch."""
    label, number, at = bar["label"].lower(), bar["number"], float(bar["at"])
    label = SAME.get(label, label)
    return {label: at} if number is None else {label: float(number), "iter": at}


def overflow_in(line: str) -> dict[str, float]:
    """That the loss scaler skipped a step, and what the loss scale is from then on; empty: the line does not say so."""
    found = SKIPPED.search(line)
    return {"overflow": 1.0, "loss_scale": float(found[2] or found[1])} if found else {}
