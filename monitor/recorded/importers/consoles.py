"""What trainers print, one row of a table each: how a line of numbers looks, and what the numbers mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from monitor.recorded.importers import register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import Log, Role, Sample
from monitor.recorded.importers.line_numbers import overflow_in
from monitor.recorded.importers.text_lines import LINE_CHARS_MAX, ROLES, text_samples
from monitor.recorded.importers.words import ANY_NUMBER, number_of

LOSS_NAME = re.compile(r"loss|entropy|nll|mse|rmse|smoothl1|perplexity", re.IGNORECASE)
OF_VALIDATION = re.compile(r"val", re.IGNORECASE)
TRAINING_SET = re.compile(r"d?train|learn|cv_agg's train", re.IGNORECASE)
SCORE = re.compile(r"auc|map|ndcg|acc|\bf1|precision|recall|r2", re.IGNORECASE)  # more is better: no loss
WITH_EQUALS = r"(?P<name>[A-Za-z][\w-]*)="
WITH_COLON = r"(?P<name>[A-Za-z]\w*): "

RolesOfNames = Callable[[list[str]], dict[str, Role]]


def _no_more(_: list[str]) -> dict[str, Role]:
    return {}


def _of_boosting(names: list[str]) -> dict[str, Role]:
    """The last loss of the training set is the loss; a scikit-learn wrapper calls its first set validation_0."""
    training = [name for name in names if TRAINING_SET.match(name)]
    training = training or [name for name in names if name.startswith("validation_0-")] or names
    losses = [name for name in training if not SCORE.search(name)]
    roles = dict.fromkeys(names, Role.METRIC) | dict.fromkeys(training, Role.NONE)
    return roles | ({losses[-1]: Role.LOSS} if losses else {})


def _of_mxnet(names: list[str]) -> dict[str, Role]:
    """Losses of batches; where there are none, the means of epochs, which begin with Train-."""
    losses = [name for name in names if LOSS_NAME.search(name) and not OF_VALIDATION.match(name)]
    of_batches = [name for name in losses if not name.startswith("Train-")]
    used = of_batches or losses
    return dict.fromkeys(losses, Role.NONE) | dict.fromkeys(used, Role.PART if len(used) > 1 else Role.LOSS)


def _all_parts(names: list[str]) -> dict[str, Role]:
    return dict.fromkeys(names, Role.PART)


class Console(msgspec.Struct, frozen=True):
    """What one trainer prints."""

    kind: str
    line: str  # a line of numbers: its groups are numbers by their names, `rest` is where pairs are
    pair: str = ""  # begins a pair of name and number
    roles: dict[str, Role] = {}
    more_roles: RolesOfNames = _no_more  # of the names of the pairs
    granularity: str = "batch"


class Printed(msgspec.Struct, frozen=True):
    """A trainer that prints names and numbers as most scripts do; only how it is known, and roles, are its own."""

    kind: str
    known_by: str
    roles: dict[str, Role] = {}
    granularity: str = ""


N = ANY_NUMBER
CONSOLES = (
    Console(
        "xgboost", r"\[(?P<round>\d+)\]\s+(?P<rest>[\w.]+-[\w@.-]+:.*)", r"(?P<name>[\w.]+-[\w@.-]+):",
        {"round": Role.STEP}, _of_boosting,
    ),
    Console(
        "lightgbm",
        r"\[(?:(?P<round>\d+)\]\s+|LightGBM\] \[Info\] Iteration:(?P<iteration>\d+), )"
        r"(?P<rest>(?:[\w -]+'s|training|valid_\d+) .*)",
        r"(?P<name>[\w-]+'s [\w@.-]+(?: [\w@.-]+)?|(?:training|valid_\d+) [\w@.-]+) ?: ",
        {"round": Role.STEP, "iteration": Role.STEP}, _of_boosting,
    ),
    Console(
        "catboost", r"(?<![\d:])(?P<round>\d+):\s+(?P<rest>learn: .*)", r"(?P<name>learn|test\d*|best): ",
        {"round": Role.STEP}, _of_boosting,
    ),
    Console(
        "darknet",
        rf"^[^:]*?(?P<step>\d+): (?P<loss>{N}), (?P<avg>{N}) avg(?: loss)?, (?P<lr>{N}) rate, (?P<time>{N}) seconds",
        roles={"step": Role.STEP, "loss": Role.LOSS, "lr": Role.RATE, "time": Role.BATCH_S},
    ),
    Console(
        "mxnet",
        r"Epoch\s?\[?(?P<epoch>\d+)\]?(?:\s*\[?Batch\s*\[?(?:\d+-)?(?P<batch>\d+)\])?,?\s+"
        r"(?P<rest>(?:LR: .*?|Speed: .*?|(?:Train|Validation)-)\S*=.*)",
        r"(?P<name>(?:Train-|Validation-)?[A-Za-z][\w-]*)=",
        {"epoch": Role.EPOCH, "batch": Role.STEP}, _of_mxnet,
    ),
    Console(
        "pix2pix",
        r"\(epoch: (?P<epoch>\d+), iters: (?P<iters>\d+), time: (?P<time>[\d.]+), data: (?P<data>[\d.]+)\)(?P<rest>.*)",
        WITH_COLON,
        {"epoch": Role.EPOCH, "iters": Role.STEP, "time": Role.BATCH_S, "data": Role.DATA_S}, _all_parts,
    ),
    Console(
        "opennmt", r"Step (?P<step>\d+)/\s*\d+;(?P<rest>.*xent: .*)", WITH_COLON,
        {"step": Role.STEP, "xent": Role.LOSS, "lr": Role.RATE},
    ),
    Console(
        "marian", rf"\] Ep\. (?P<epoch>\d+) : Up\. (?P<update>\d+) : .*Cost (?P<loss>{N})(?P<rest>.*)",
        r"(?P<name>gNorm|L\.r\.) ",
        {"epoch": Role.EPOCH, "update": Role.STEP, "loss": Role.LOSS, "gNorm": Role.GRAD_NORM, "L.r.": Role.RATE},
    ),
    Console(
        "espnet", r"(?P<epoch>\d+)epoch:(?P<part>train|valid):\d+-(?P<batch>\d+)batch: (?P<rest>.*)", WITH_EQUALS,
        {"epoch": Role.EPOCH, "batch": Role.STEP, "train_time": Role.BATCH_S, "iter_time": Role.DATA_S},
    ),
)  # fmt: skip
PRINTED = (
    Printed("megatron", r"^.*\biteration\s+\d+/\s*\d+ \| .*\|", granularity="batch"),
    Printed("deepspeed", r"\[deepspeed\]|\[Rank \d+\] step=\d+, skipped=|^steps: \d+ loss: .*iter time"),
    Printed("olmo", r"olmo\S*:\d+\s+INFO\s+\[step=\d+", granularity="batch"),
    Printed("nnunet", r"Pseudo dice|Average global foreground Dice", {"epoch": Role.EPOCH}, "epoch"),
    Printed("coqui", r"--> STEP: -?\d+/\d+ -- GLOBAL_STEP: \d+", granularity="batch"),
)


def _reads(console: Console, content: Content, _: str) -> Log:
    line, pair = (
        re.compile(console.line, re.IGNORECASE),
        re.compile(rf"{console.pair}\s*(?P<value>{ANY_NUMBER})", re.IGNORECASE),
    )
    read = partial(_samples, line=line, pair=pair if console.pair else None)
    begins = Content.of(content.head.rpartition(b"\n")[0] or content.head)
    names = dict.fromkeys(name for _, values in read(begins) for name in values if name not in console.roles)
    roles = {**console.more_roles([name for name in names if name not in ROLES]), **console.roles}
    return Log(read(content), {**ROLES, **roles} if "time" not in names else roles, console.granularity)


def _samples(content: Content, line: re.Pattern[str], pair: re.Pattern[str] | None) -> Iterator[Sample]:
    for number, raw in enumerate(content.lines(), 1):
        text = _text(raw)
        if found := line.search(text):
            values = _numbers(found.groupdict(), pair)
            if values:
                yield number, values
        elif "verflow" in text and (skipped := overflow_in(text)):
            yield number, skipped


def _numbers(groups: dict[str, str | None], pair: re.Pattern[str] | None) -> dict[str, float]:
    rest, part = groups.pop("rest", None) or "", groups.pop("part", None)
    named = [(name, text) for name, text in groups.items() if text is not None]
    before = "val/" if part == "valid" else ""
    pairs = [(before + found["name"], found["value"]) for found in pair.finditer(rest)] if pair else []
    return {name: number for name, text in (*named, *pairs) if (number := number_of(text)) is not None}


def _reads_printed(printed: Printed, content: Content, _: str) -> Log:
    return Log(text_samples(content), {**ROLES, **printed.roles}, printed.granularity)


def _known(pattern: re.Pattern[str], head: bytes, _: str) -> bool:
    return any(pattern.search(_text(line)) for line in head.splitlines())


def _text(line: bytes) -> str:
    """The line, with the tabs that syslog writes as #011; empty where it is too long for one of a log."""
    text = line.decode("utf-8", "replace") if len(line) <= LINE_CHARS_MAX else ""
    return text.replace("#011", "\t") if "#011" in text else text


for _console in CONSOLES:
    _by_line = partial(_known, re.compile(_console.line, re.IGNORECASE))
    register(_console.kind, rank=92, recognises=_by_line)(partial(_reads, _console))
for _printed in PRINTED:
    _by_words = partial(_known, re.compile(_printed.known_by))
    register(_printed.kind, rank=94, recognises=_by_words)(partial(_reads_printed, _printed))
