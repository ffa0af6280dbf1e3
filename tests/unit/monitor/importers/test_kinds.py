"""Every kind of log: recognised by content, and read into the same rows."""

from __future__ import annotations

import math

import pytest

from monitor.recorded.importers import load_all, read_log
from monitor.recorded.importers.imported_run import ImportedRun, Role, UnreadableLog
from tests.unit.monitor.importers import texts
from trainer_hooks.wire.messages import Nonfinite


def run_of(text: str, name: str = "a.csv", mapping: dict[str, Role] | None = None) -> ImportedRun:
    return read_log(text.encode(), name, mapping)


def losses(run: ImportedRun) -> list[float | None]:
    return [row.loss for row in run.rows]


@pytest.mark.parametrize("name", texts.ALL)
def test_a_log_is_recognised_by_its_content(name: str) -> None:
    text, kind, rows = texts.ALL[name]
    run = run_of(text)
    assert (run.kind, len(run.rows)) == (kind, rows)


@pytest.mark.parametrize("name", texts.ALL)
def test_windows_line_ends_change_nothing(name: str) -> None:
    text, _, rows = texts.ALL[name]
    if "\r" not in text:
        assert len(run_of(text.replace("\n", "\r\n")).rows) == rows


@pytest.mark.parametrize("name", texts.ALL)
def test_a_log_cut_anywhere_is_read_or_refused_by_name(name: str) -> None:
    """A training that was killed leaves any prefix; no prefix may raise anything but the named error."""
    text, _, rows = texts.ALL[name]
    refused = []
    for end in range(0, len(text), 7):
        try:
            assert len(run_of(text[:end], "cut.log").rows) <= rows
        except UnreadableLog as error:
            refused.append(str(error))
    assert refused
    assert all(sentence.startswith("cut.log: ") for sentence in refused)


def test_every_importer_has_a_sample_here() -> None:
    kinds = {kind for _, kind, _ in texts.ALL.values()} | {"tensorboard"}
    assert kinds == set(load_all())


def test_ultralytics_sums_its_components_and_one_nan_is_named() -> None:
    run = run_of(texts.ULTRALYTICS)
    assert run.granularity == "epoch"
    assert run.part_names == ("train/box_loss", "train/cls_loss", "train/dfl_loss")
    assert run.rows[0].loss == pytest.approx(5.1)
    assert [row.nonfinite for row in run.rows] == [0, Nonfinite.LOSS, 0]
    assert [e.text for e in run.rows[1].events] == ["train/cls_loss (1 of 3 components)"]
    assert run.rows[2].learning_rates == (0.01, 0.003, 0.003)
    assert run.rows[2].batch_s is None, "its `time` counts from the beginning of the training"
    assert run.rows[0].metrics == {"metrics/mAP50(B)": 0.1, "val/box_loss": 1.4}


def test_the_final_validation_of_yolov5_is_no_epoch() -> None:
    run = run_of(texts.YOLOV5)
    assert [(row.epoch, row.generation) for row in run.rows] == [(1, 1), (2, 1)]


def test_hugging_face_hides_a_nan_behind_a_loss_of_zero() -> None:
    run = run_of(texts.HF_STATE)
    masked = run.rows[1]
    assert masked.nonfinite == Nonfinite.LOSS | Nonfinite.GRADIENT
    assert [event.kind for event in masked.events] == ["loss masked"]
    assert [row.step for row in run.rows] == [10, 20, 30]
    assert masked.metrics == {"eval_loss": 1.9, "eval_runtime": 3.0}


def test_lightning_rows_of_a_validation_and_of_an_epochs_mean_are_no_steps() -> None:
    run = run_of(texts.LIGHTNING)
    assert losses(run) == [1.5, 1.4, 1.3]
    assert run.rows[1].metrics == {"val_loss": 1.6}
    assert [(row.epoch, row.batch) for row in run.rows] == [(1, 0), (1, 1), (2, 0)]
    assert run.rows[-1].generation == 1, "a repeated step is no restart"


def test_openmmlab_iterations_begin_anew_with_each_epoch_without_being_a_restart() -> None:
    run = run_of(texts.MM_JSON)
    assert [row.generation for row in run.rows] == [1, 1, 1]
    assert [row.memory_bytes for row in run.rows] == [4000 << 20, 4000 << 20, 4100 << 20]
    assert (run.rows[0].batch_s, run.rows[0].data_wait_s) == (0.4, 0.1)
    assert [row.nonfinite for row in run.rows] == [0, Nonfinite.LOSS, 0]
    assert run.rows[1].metrics == {"val/bbox_mAP": 0.1}


def test_an_appended_restart_begins_a_generation() -> None:
    run = run_of(texts.DETECTRON2)
    assert [(row.generation, row.step) for row in run.rows] == [(1, 19), (1, 39), (2, 19)]
    assert run.rows[2].events[0].text == "the log goes back, step 39 to 19: a restart, judged afresh"
    assert run.rows[1].metrics == {"bbox/AP": 12.5}


def test_a_nan_written_as_a_word_is_one() -> None:
    run = run_of(texts.WANDB)
    assert [row.nonfinite for row in run.rows] == [0, Nonfinite.LOSS]
    assert [row.step for row in run.rows] == [10, 20]


def test_megatron_drops_the_loss_it_can_not_print() -> None:
    run = run_of(texts.MEGATRON)
    assert [row.nonfinite for row in run.rows] == [0, 0, Nonfinite.LOSS]
    assert [event.kind for event in run.rows[2].events] == ["loss vanished"]
    assert math.isnan(run.rows[2].loss or 0.0)


def test_a_bar_of_yolo_is_a_running_mean_and_only_its_last_counts() -> None:
    run = run_of(texts.YOLO_STDOUT)
    assert run.part_names == ("train/box_loss", "train/cls_loss", "train/dfl_loss")
    assert run.rows[0].parts == (1.8, 3.8, 1.79)
    assert run.rows[0].memory_bytes == int(2.16 * 2**30)
    assert run.rows[1].nonfinite == Nonfinite.LOSS


def test_a_validation_that_is_printed_like_a_step_is_none() -> None:
    assert losses(run_of(texts.PRINTS)) == [0.3277, 0.3133]
    assert losses(run_of(texts.NANOGPT)) == [10.97, 9.51]


def test_an_epoch_and_an_iteration_in_brackets_are_told_apart() -> None:
    assert [(row.epoch, row.step) for row in run_of(texts.SWIN).rows] == [(1, 280), (2, 0)]
    assert [(row.epoch, row.step) for row in run_of(texts.MM_TEXT).rows] == [(1, 4400), (1, 4450)]


def test_a_column_can_be_named_by_hand() -> None:
    text = "it,nll_total,zeta\n1,2.0,0.1\n2,nan,0.1\n"
    with pytest.raises(UnreadableLog, match=r"no column is a training loss \(found: it, nll_total, zeta\)"):
        run_of(text)
    run = run_of(text, mapping={"nll_total": Role.LOSS, "it": Role.STEP, "zeta": Role.RATE})
    assert [(row.step, row.nonfinite, row.learning_rates) for row in run.rows] == [(1, 0, (0.1,)), (2, 1, (0.1,))]


def test_a_column_named_by_hand_must_be_there() -> None:
    with pytest.raises(UnreadableLog, match="has no column 'nll'; it has epoch, accuracy"):
        run_of(texts.KERAS, mapping={"nll": Role.LOSS})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\x00" * 4096, "is not a log of a known kind"),
        (b"hello world\n", "no column is a training loss"),
        (b'{"log_history": [{"loss": 1.0', "not a complete JSON document"),
        (b'{"loss": [1.0, 0.9', "neither JSON lines nor one whole JSON document"),
    ],
)
def test_what_is_no_log_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(UnreadableLog, match=why) as caught:
        read_log(data, "x.json")
    assert caught.value.name == "x.json"


def test_a_cut_table_is_read_to_its_last_whole_line() -> None:
    run = run_of(texts.KERAS.rstrip("\n")[:-9])
    assert len(run.rows) == 1
    assert run.truncated == "line 3 ends in the middle"
