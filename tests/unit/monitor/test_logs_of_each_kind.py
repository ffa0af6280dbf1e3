"""What a backtest says of a small log of each kind that is easily read wrong, from its bytes to the verdict."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable

import pytest

from monitor.core.model import Severity
from monitor.policyfile.load import policy_from_text, preset
from monitor.recorded.backtest import Result, backtest
from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import Role

BAD_FROM = 120
ROWS = 240
NONFINITE = {"nonfinite_batch", "nonfinite_burst", "nonfinite_rate"}


def judged(log: bytes | str, mapping: dict[str, Role] | None = None) -> Result:
    data = log.encode() if isinstance(log, str) else log
    return backtest(read_log(data, "log", mapping), policy_from_text(preset("default"), "default"))


def alarms(result: Result) -> dict[str, int]:
    """The first row of each detector that warned, or worse."""
    found: dict[str, int] = {}
    for fired in result.fired:
        if fired.severity is not Severity.INFO:
            found.setdefault(fired.source, fired.row)
    return found


def losses(rows: int = ROWS, *, seed: int = 3) -> list[float]:
    """A loss that falls and flattens."""
    draw = random.Random(seed)
    return [2.0 * math.exp(-at / 100) + 0.4 + draw.gauss(0, 0.015) for at in range(rows)]


def with_word(word: str, line: str, end: str = "\n") -> str:
    """A log whose loss is `word` from BAD_FROM on; `line` says where step and loss stand."""
    texts = [word if at >= BAD_FROM else f"{loss:.4f}" for at, loss in enumerate(losses())]
    return "".join(line.format(step=at, loss=text) + end for at, text in enumerate(texts))


KERAS = "Epoch {step}/240\n10/10 [====] - 1s 31ms/step - loss: {loss} - accuracy: 0.5 - val_loss: 0.6"
COQUI = " --> STEP: {step}/240 -- GLOBAL_STEP: {step}\n   | > loss: {loss}  (0.5)"


@pytest.mark.parametrize(
    "log",
    [
        "step,loss,rate\n" + with_word("", "{step},{loss},0.001"),
        "step,loss\n" + with_word("-nan(ind)", "{step},{loss}"),
        "step;loss\n" + with_word("NaN", "{step};{loss}").replace(".", ","),
        '"Step","calm-sea-1 - train/loss"\n' + with_word("NaN", '"{step}","{loss}"'),
        with_word("null", '{{"step": {step}, "loss": {loss}, "lr": 0.1, "grad_norm": 2.0}}'),
        with_word("nan", '{{"step": {step}, "loss": {loss}}}'),
        with_word("1e400", '{{"step": {step}, "loss": {loss}}}'),
        with_word("1.#QNAN", "step {step} loss {loss}"),
        with_word("1.#INF", "step {step} loss {loss}"),
        with_word("Infinity", "step {step} loss {loss}"),
        with_word("nan", KERAS),
        with_word("nan", COQUI),
        with_word("nan", "step {step} loss {loss}", "\r\n").encode("utf-16"),
        b"\xef\xbb\xbfstep,loss\n" + with_word("nan", "{step},{loss}").encode(),
        gzip.compress(("step,loss\n" + with_word("nan", "{step},{loss}")).encode()),
    ],
    ids=[
        "empty", "windows' nan", "decimal comma", "quoted", "null", "lower-case nan in json", "too large", "1.#QNAN",
        "1.#INF", "Infinity", "keras", "two lines a step", "utf-16", "byte-order mark", "gzip",
    ],
)  # fmt: skip
def test_a_loss_that_is_no_number_any_more_is_critical_from_its_row_on(log: bytes | str) -> None:
    found = alarms(judged(log))
    assert found.keys() >= NONFINITE
    assert found["nonfinite_batch"] == BAD_FROM


@pytest.mark.parametrize("mapping", [{"1": Role.LOSS, "0": Role.STEP}, {"1": Role.LOSS}])
def test_a_table_without_a_header_is_read_by_the_places_of_its_columns(mapping: dict[str, Role]) -> None:
    assert alarms(judged(with_word("nan", "{step},{loss}"), mapping))["nonfinite_batch"] == BAD_FROM


@pytest.mark.parametrize(
    "log",
    [
        "step;loss\n" + with_word("0,4", "{step};{loss}").replace(".", ","),
        "".join(f"step {at} loss {loss:.4f}\n" for at, loss in enumerate(losses())),
        "".join(f"epoch 1 iter {at % 8} loss {losses()[at % 8]:.4f}\n" for at in range(240)),
    ],
    ids=["decimal comma", "lines", "thirty folds"],
)  # fmt: skip
def test_a_calm_log_is_quiet(log: str) -> None:
    assert not alarms(judged(log))


def test_what_fires_after_hundreds_of_restarts_is_still_said() -> None:
    folds = "".join(f"epoch 1 iter {at} loss {losses()[at]:.4f}\n" for _ in range(260) for at in range(8))
    found = alarms(judged(folds + "".join(f"epoch 9 iter {at} loss nan\n" for at in range(8, 60))))
    assert found["nonfinite_batch"] == 260 * 8


def of_writers(behind: int) -> str:
    """Each step is written by two processes, one of which is `behind`; the loss is four times as high from 600 on."""
    values = [loss * (4 if at >= 600 else 1) for at, loss in enumerate(losses(900))]
    steps = (at for newest in range(900) for at in (newest, max(0, newest - behind)))
    return "".join(json.dumps({"step": at, "loss": round(values[at], 4)}) + "\n" for at in steps)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_two_writers_of_one_file_are_judged_as_one_alone(behind: int) -> None:
    result = judged(of_writers(behind))
    assert not [fired for fired in result.fired if fired.source == "log: restart"]
    assert result.worst is Severity.CRITICAL
    assert min(alarms(result).values()) == 1200


def test_an_iteration_that_begins_anew_hides_no_loss_that_rose() -> None:
    values = [loss * (4 if at >= 900 else 1) for at, loss in enumerate(losses(1500))]
    result = judged("".join(f"iter {at % 50} loss {loss:.4f}\n" for at, loss in enumerate(values)))
    assert result.worst is Severity.CRITICAL
    assert min(alarms(result).values()) == 900


def _table(values: list[float]) -> str:
    return "step,loss\n" + "".join(f"{at},{value:.6g}\n" for at, value in enumerate(values))


def _apart() -> str:
    draw = random.Random(9)
    return _table([90.0 + draw.gauss(0, 3) if at % 2 == 0 else 10 ** draw.uniform(9, 13) for at in range(14)])


def _rising() -> str:
    return _table([3.9, 8.1, 13.3, 20.9, 37.2, 55.0, 66.6, 70.4, 81.5, 80.2, 77.7])


def _norms() -> str:
    rows = ({"loss": loss, "grad_norm": math.nan, "learning_rate": 1e-5, "epoch": 0.1} for loss in losses(30))
    return "".join(json.dumps(row) + "\n" for row in rows)


def _halving() -> str:
    scales = [2.0**power for power in range(17, -1, -1)]
    skipped = "step {}: OVERFLOW! Skipping step. Attempted loss scale: {:g}, reducing to {:g}\n"
    return "".join(skipped.format(at, scale, scale / 2) for at, scale in enumerate(scales))


@pytest.mark.parametrize(
    ("log", "detector", "row"),
    [
        (_apart, "loss_huge", 1), (_rising, "loss_early_rise", 5), (_norms, "gradient_norm_bad", 3),
        (_halving, "overflows", 15),
    ],
)  # fmt: skip
def test_a_log_that_is_bad_from_its_first_row_is_found_without_a_calm_one(
    log: Callable[[], str], detector: str, row: int
) -> None:
    assert alarms(judged(log())).get(detector) == row
