"""The shapes in which programs keep series of numbers, and what stands around the lines of a console."""

from __future__ import annotations

import json
import math

import pytest

from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun, NotALog

LOSSES = (2.5, 2.25, math.nan)


def run_of(text: str | bytes, name: str = "x") -> ImportedRun:
    return read_log(text.encode() if isinstance(text, str) else text, name)


def read(text: str | bytes, name: str = "x") -> list[float | None]:
    """The losses; None: not finite."""
    run = run_of(text, name)
    assert len({row.generation for row in run.rows}) == 1, "nothing is taken for a restart"
    return [None if row.nonfinite else row.loss for row in run.rows]


def by_place(place: str) -> str:
    return json.dumps({place.format(at): {"loss": loss, "val_loss": 2.0} for at, loss in enumerate(LOSSES)})


def table(rows: str) -> str:
    page = f"<table><tr><th>Step</th><th>Training&nbsp;Loss</th></tr>{rows}</table>".replace("&nbsp;", " ")
    output = {"output_type": "display_data", "data": {"text/html": [page]}}
    return json.dumps({"cells": [{"cell_type": "code", "outputs": [output]}], "nbformat": 4})


SHAPES = {
    "by number": by_place("{}"),
    "by epoch": by_place("epoch_{}"),
    "by epoch, indented": json.dumps(json.loads(by_place("Epoch {}")), indent=1),
    "below other keys": json.dumps({"args": {"lr": 1, "sizes": [1, 2, 3]}, "log": json.loads(by_place("{}"))}),
    "pandas": json.dumps({"loss": dict(enumerate(LOSSES)), "lr": dict(enumerate([0.1] * 3))}),
    "pandas, null": json.dumps({"loss": {"0": 2.5, "1": 2.25, "2": None}}),
    "steps and values": json.dumps({
        "training.loss": {"steps": [1, 2, 3], "values": LOSSES}, "lr": {"steps": [1], "values": [0.1]}
    }),
    "x and y": json.dumps({"loss": {"train": {"name": "train", "x": [1, 2, 3], "y": LOSSES}}}),
    "a list below a name": json.dumps({
        "best": {"epoch": 1}, "history": [{"epoch": at, "loss": loss} for at, loss in enumerate(LOSSES)]
    }),
    "decimal commas and names": '"step";"tag";"value"\n"1";"loss";"2,5"\n"2";"loss";"2,25"\n"3";"loss";"nan"\n',
    "comet": json.dumps([
        {"metricName": "loss", "metricValue": str(loss), "step": at} for at, loss in enumerate(LOSSES)
    ]),
    "aim": "run.hash,metric.name,steps,values\n" + "".join(f"ab,loss,{at},{loss}\n" for at, loss in enumerate(LOSSES)),
    "sorted by name": "metric;step;value\n" + "".join(
        f"{name};{at};{loss}\n" for name in ("loss", "lr") for at, loss in enumerate(LOSSES)
    ),
    "a table in a notebook": table("".join(f"<tr><td>{at}</td><td>{loss}</td></tr>" for at, loss in enumerate(LOSSES))),
    "systemd": "".join(
        json.dumps({"_PID": "7", "MESSAGE": f"step {at} loss {loss}"}) + "\n" for at, loss in enumerate(LOSSES)
    ),
    "a cloud": "".join(
        json.dumps({"jsonPayload": {"message": f"step {at} loss {loss}"}}) + "\n" for at, loss in enumerate(LOSSES)
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_the_losses_of_each_shape_are_read(text: str) -> None:
    assert read(text) == [2.5, 2.25, None]


def test_one_json_line_is_one_row_whatever_lists_it_has() -> None:
    run = run_of('{"epoch": 0, "train_loss": 2.5, "test_coco_eval_bbox": [0.1, 0.2, 0.3]}\n')
    assert (run.kind, len(run.rows)) == ("jsonl", 1)


def test_folds_are_not_taken_for_epochs() -> None:
    folds = {f"fold_{at}": {"loss": [2.5, 2.4, 2.3]} for at in range(3)}
    assert read(json.dumps(folds)) == [2.5, 2.4, 2.3]


def test_what_tensorboards_page_saves_is_known_by_the_name_of_its_file() -> None:
    text = "Wall time,Step,Value\n1.7e9,0,2.5\n1.7e9,10,2.25\n1.7e9,20,NaN\n"
    assert read(text, "runs/run-a-tag-train_loss.csv") == [2.5, 2.25, None]
    with pytest.raises(NotALog, match="--map loss=Value"):
        read(text, "runs/run-a-tag-accuracy.csv")


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16", "utf-16-be", "utf-8-sig"])
def test_wide_texts_are_read(encoding: str) -> None:
    assert read("step,loss\n1,2.5\n2,2.25\n3,nan\n".encode(encoding)) == [2.5, 2.25, None]


BAR = (
    "      Epoch    GPU_mem   box_loss   cls_loss  Instances       Size\n"
    "{}        {}/3      2.4G        {}        0.0         12        640: 100%"
)
CONSOLES = {
    "colours of 24 bits": ("\x1b[38;2;255;100;0mstep {}\x1b[0m \x1b[38:5:9mloss {}\x1b[m\x1b[K", LOSSES),
    "links": ("\x1b]8;;file:///t.py\x1b\\t.py:7\x1b]8;;\x1b\\ step {} loss {}", LOSSES),
    "a boxed numpy number": ("epoch {} loss np.float32({})", LOSSES),
    "a tensor of tensorflow": ("step {}: loss = tf.Tensor({}, shape=(), dtype=float32)", LOSSES),
    "sets in brackets": ("Epoch({}/9) loss(train)={} loss(val)=0.9", LOSSES),
    "YOLO behind a time": (BAR.replace("{}", "2024-05-01 10:00:00 INFO", 1), LOSSES),
    "YOLO behind a rank": (BAR.replace("{}", "[rank0]:", 1), LOSSES),
    "decimal commas everywhere": ("Epoche {}, Loss {}, Lernrate 0,001", ("2,500", "2,250", "nan")),
    "decimal commas": ("Epoche {}: Loss = {}, Val-Loss = 0,9", ("2,5", "2,25", "nan")),
}


@pytest.mark.parametrize(("line", "losses"), CONSOLES.values(), ids=CONSOLES)
def test_what_stands_around_a_number_does_not_hide_it(line: str, losses: tuple[object, ...]) -> None:
    assert read("".join(line.format(at, loss) + "\n" for at, loss in enumerate(losses, 1))) == [2.5, 2.25, None]


def test_a_step_with_separated_thousands_is_one_number() -> None:
    run = run_of("".join(f"step {at:,} | loss 2.5 | tokens {at * 999:,}\n" for at in (950, 1000, 12_500, 1_000_000)))
    assert [row.step for row in run.rows] == [950, 1000, 12_500, 1_000_000]
    assert {row.generation for row in run.rows} == {1}


SENTENCES = (
    "Loss is now NaN! Stopping.", "WARNING: non-finite loss, ending training tensor(nan)", "loss went to nan",
    "NaN detected in loss", "Model diverged with loss = NaN.", "NanLossDuringTrainingError: NaN loss during training.",
    "Batch 12: Invalid loss, terminating training", "FloatingPointError: Loss became infinite or NaN at iteration=3!",
    "ValueError: The loss returned in `training_step` is nan or inf.", "Training loss is not finite: nan",
    "Skipping non-finite loss", "Encountered NaN loss at step 3",
)  # fmt: skip
OTHER_SENTENCES = (
    "will stop if loss is nan", "nan loss check enabled", "number of nan losses 0", "no nan loss so far",
    "loss is nan: False", "val loss is nan", "NaN loss guard: active", "without any NaN in loss", "0 nan losses",
    "checking loss for nan", "terminate_on_nan: True", "loss is now finite",
)  # fmt: skip


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_that_says_that_the_loss_is_nan_is_a_row(sentence: str) -> None:
    assert read(f"step 1 loss 2.5\nstep 2 loss 2.25\n{sentence}\n") == [2.5, 2.25, None]


@pytest.mark.parametrize("sentence", OTHER_SENTENCES)
def test_a_sentence_about_nan_that_reports_none_is_no_row(sentence: str) -> None:
    assert read(f"step 1 loss 2.5\n{sentence}\nstep 2 loss 2.25\n") == [2.5, 2.25]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"timestamp": 17, "step": 1, "pid": 7}\n', "a training is judged by its loss, so log that too"),
        ("step,target_error_value,timestamp\n1,2.5,17\n", "name it with --map loss=target_error_value"),
    ],
)
def test_the_advice_names_no_column_that_can_be_no_loss(text: str, advice: str) -> None:
    with pytest.raises(NotALog, match=advice):
        run_of(text)


@pytest.mark.parametrize(
    "names",
    [
        ("trainLoss", "valLoss"), ("TrainingLoss", "ValidationLoss"), ("loss_train", "loss_val"),
        ("tr_loss", "va_loss"), ("Loss/train", "Loss/val"),
    ],
)  # fmt: skip
def test_the_loss_of_a_validation_is_known_by_its_sibling(names: tuple[str, str]) -> None:
    run = run_of(f"epoch,{names[0]},{names[1]}\n1,2.5,2.6\n2,2.25,nan\n")
    assert [(row.loss, row.nonfinite) for row in run.rows] == [(2.5, 0), (2.25, 0)]
    assert list(run.rows[0].metrics) == [names[1]]


def test_a_loss_beside_its_mean_is_no_validation() -> None:
    assert read("step,loss_val,loss_avg\n1,2.5,2.5\n2,2.25,2.4\n3,nan,nan\n") == [2.5, 2.25, None]


def test_a_line_that_a_crash_cut_takes_nothing_from_the_line_behind_it() -> None:
    run = run_of("step 1 loss 0.5\nstep 2 loss 0.4\nstep 3 loss 0.step 1 loss 2.5\nstep 2 loss 2.25\n")
    assert [(row.step, row.loss, row.generation) for row in run.rows] == [
        (1, 0.5, 1),
        (2, 0.4, 1),
        (1, 2.5, 2),
        (2, 2.25, 2),
    ]


def test_a_hole_that_is_larger_than_the_text_is_passed_over() -> None:
    assert read(b"step 1 loss 2.5\n" + b"\0" * 4096 + b"step 2 loss 2.25\nstep 3 loss nan\n") == [2.5, 2.25, None]


def test_kaggles_list_of_lines_is_read_however_late_the_first_loss_is() -> None:
    lines = ["loading"] * 300 + [f"step {at} loss {loss}" for at, loss in enumerate(LOSSES)]
    objects = [json.dumps({"stream_name": "stdout", "time": at, "data": line + "\n"}) for at, line in enumerate(lines)]
    assert read("[" + "\n,".join(objects) + "\n]") == [2.5, 2.25, None]


def test_a_notebook_without_output_is_no_log() -> None:
    """In a folder it is passed by."""
    with pytest.raises(NotALog, match="without any output"):
        run_of(json.dumps({"cells": [{"cell_type": "code", "outputs": [], "source": ["loss.backward()"]}]}))
