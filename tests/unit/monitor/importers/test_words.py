"""Every spelling of a number that is not finite, in every kind of table and text."""

from __future__ import annotations

import math

import pytest

from monitor.recorded.importers import read_log
from monitor.recorded.importers.words import TEXT_CHARS_MAX, number_of
from trainer_hooks.wire.messages import Nonfinite

NANS = ["nan", "NaN", "NAN", "-nan", "+nan", "-nan(ind)", "nan(snan)", "nan(0x8000000000000)", "1.#QNAN", "-1.#IND",
        "1.#IND00", "1.#SNAN"]  # fmt: skip
INFINITIES = ["inf", "-inf", "Inf", "Infinity", "-Infinity", "1.#INF", "-1.#INF00", "1e400", "\u221e"]


@pytest.mark.parametrize("word", NANS)
def test_a_word_for_nan_is_one(word: str) -> None:
    number = number_of(word)
    assert number is not None
    assert math.isnan(number)


@pytest.mark.parametrize("word", INFINITIES)
def test_a_word_for_infinity_is_one_with_its_sign(word: str) -> None:
    number = number_of(word)
    assert number == (-math.inf if word.startswith("-") else math.inf)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("tensor(2.5, device='cuda:0')", 2.5), ("array([3.5])", 3.5), ("np.float32(1.25)", 1.25), ("85.5%", 85.5),
        ("none", None), ("null", None), ("", None), ("nano", None), ("information", None), ("12:30", None),
        ("1" + " " * TEXT_CHARS_MAX + "x", None),
    ],
)  # fmt: skip
def test_other_texts_are_the_number_in_them_or_none(text: str, number: float | None) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("word", [*NANS, *INFINITIES])
@pytest.mark.parametrize(
    "form",
    ["csv", "quoted", "semicolons", "spaces", "column", "json", "json text", "pairs", "keras", "darknet"],
)
def test_it_makes_a_bad_row_wherever_it_stands(form: str, word: str) -> None:
    """Two good rows, a bad one, a good one."""
    losses = ["2.5", "2.25", word, "2.125"]
    comma = [loss.replace(".", ",") if loss != word else loss for loss in losses]
    bars = (f"Epoch {i}/4\n9/9 - 3s 1ms/step - loss: {x} - acc: 0.5\n" for i, x in enumerate(losses, 1))
    images = (f" {i}: {x}, {x} avg loss, 0.1 rate, 5.0 seconds, 64 images\n" for i, x in enumerate(losses))
    texts = {
        "csv": "step,loss\n" + "".join(f"{i},{loss}\n" for i, loss in enumerate(losses)),
        "quoted": '"Step","run - train/loss"\n' + "".join(f'"{i}","{loss}"\n' for i, loss in enumerate(losses)),
        "semicolons": "step;loss\n" + "".join(f"{i};{loss}\n" for i, loss in enumerate(comma)),
        "spaces": "step   loss\n" + "".join(f"{i}   {loss}\n" for i, loss in enumerate(losses)),
        "column": "loss\n" + "".join(f"{loss}\n" for loss in losses),
        "json": "".join(f'{{"step": {i}, "loss": {loss}}}\n' for i, loss in enumerate(losses)),
        "json text": "".join(f'{{"step": {i}, "loss": "{loss}"}}\n' for i, loss in enumerate(losses)),
        "pairs": "".join(f"step {i} loss: {loss} lr 0.1\n" for i, loss in enumerate(losses)),
        "keras": "".join(bars),
        "darknet": "".join(images),
    }
    if form == "json" and word == "\u221e":
        pytest.skip("nothing writes that into JSON")
    run = read_log(texts[form].encode(), "x")
    assert [bool(row.nonfinite & Nonfinite.LOSS) for row in run.rows] == [False, False, True, False]
    assert [row.loss for row in run.rows][:2] == [2.5, 2.25]
