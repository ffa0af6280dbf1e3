"""What is read from the log of each trainer that prints its numbers its own way: the loss, and where it was."""

from __future__ import annotations

import json

import pytest

from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun, Role
from monitor.recorded.importers.mlflow import joined
from monitor.recorded.importers.several_runs import SeveralRuns
from tests.contracts.samples import logs
from trainer_hooks.wire.messages import Nonfinite


def run_of(text: str) -> ImportedRun:
    return read_log(text.encode(), "x.log")


@pytest.mark.parametrize(
    ("name", "losses"),
    [
        ("keras bars", [2.31, None]), ("keras 3", [0.46, 0.26]), ("keras old", [0.25]), ("xgboost", [0.68, 0.61]),
        ("xgboost of scikit-learn", [0.6, 0.55]), ("lightgbm", [0.25, 0.24]), ("catboost", [0.6912, 0.68]),
        ("catboost json", [0.69, 0.61]), ("darknet", [1050.2, 1040.5, None]), ("mxnet", [2.3, 2.1]),
        ("gluoncv", [48.55, 48.542]), ("cyclegan", [3.1, 2.96, 2.81]), ("pix2pix", [21.024, 20.004]),
        ("opennmt", [9.42, 9.14]), ("espnet", [160.2, 150.2]), ("fairseq json", [10.2, None, 9.9]),
        ("fairseq simple", [10.439, 9.875]), ("spacy", [40.0, 2199.15, 1193.55]), ("spacy 2", [15.0, 13.0]),
        ("fastai", [0.512345, 0.412345]), ("olmo", [12.18, 11.15]), ("nnunet 2", [-0.1022, -0.1533]),
        ("nnunet 1", [-0.6584, -0.6505]), ("coqui", [2.5, 2.4]), ("deepspeed", [5.33, None, 5.21]),
        ("stylegan", [2.13, None]), ("mlflow", [2.5, 2.25]), ("wandb export", [2.5, None]),
        ("train n", [0.5123, 0.4123]),
        ("chinese", [1.98, 1.9]), ("coloured", [8.1, 7.9]), ("tensors", [0.5312, None]), ("no steps", [0.5312, 0.4312]),
        ("perplexity", [151.84, 149.8]),
        ("tutorial", [2.303494, 2.203494, 2.103494]), ("json behind words", [2.31, 2.21]), ("caffe", [2.33, 2.22]),
        ("tensors in a dict", [2.31, None]), ("lightgbm's own program", [0.25, 0.24]), ("litgpt", [2.5, None]),
        ("train.py", [2.5, 2.4]), ("bars of steps", [0.5, None]), ("bars of epochs", [2.5, 2.1, 2.0]),
        ("loss is nan", [40.1, 38.1, None]), ("framed table", [2.5, None]), ("table of rich", [2.5, 2.4]),
        ("docker", [2.5, None]), ("messages in json", [2.5, 2.4]), ("tabs of syslog", [0.68, 0.61]),
        ("fairseq hydra", [9.5, None]), ("marian", [5.25, None]), ("mindspore", [2.5, None]),
    ],
)  # fmt: skip
def test_the_loss_of_each_row_is_that_of_the_training(name: str, losses: list[float | None]) -> None:
    """None: it is not finite, or the row has none."""
    rows = run_of(logs.ALL[name][0]).rows
    read = [None if row.nonfinite else row.loss for row in rows]
    assert read == [None if loss is None else pytest.approx(loss) for loss in losses]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("darknet", [(1, 1), (1, 2), (1, 3)]), ("mxnet", [(1, 20), (1, 40)]), ("espnet", [(1, 50), (1, 100)]),
        ("cyclegan", [(1, 100), (1, 200), (2, 100)]), ("opennmt", [(1, 50), (1, 100)]), ("olmo", [(1, 1), (1, 2)]),
        ("spacy", [(1, 0), (1, 200), (2, 400)]), ("coqui", [(1, 24), (1, 49)]), ("mlflow", [(1, 0), (2, 1)]),
        ("fairseq simple", [(1, 1000), (1, 2000)]), ("train n", [(1, 100), (1, 200)]),
        ("perplexity", [(1, 2100), (1, 2200)]), ("nnunet 1", [(6, 0), (7, 1)]), ("bars of steps", [(1, 1), (1, 12)]),
        ("bars of epochs", [(1, 10), (1, 100), (2, 10)]), ("lightgbm's own program", [(1, 1), (2, 2)]),
        ("loss is nan", [(1, 0), (1, 10), (1, 10)]), ("docker", [(1, 1), (1, 2)]),
        ("messages in json", [(1, 10), (1, 20)]), ("marian", [(1, 1000), (1, 2000)]), ("mindspore", [(1, 1), (1, 2)]),
        ("fairseq hydra", [(1, 200), (1, 400)]),
    ],
)  # fmt: skip
def test_each_row_knows_its_epoch_and_step(name: str, places: list[tuple[int, int]]) -> None:
    assert [(row.epoch, row.step) for row in run_of(logs.ALL[name][0]).rows] == places


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("keras bars", {"val_loss": 2.2}), ("xgboost", {"valid-rmse": 0.69}), ("lightgbm", {"valid_1's l2": 0.26}),
        ("lightgbm's own program", {"valid_1 l2": 0.26}), ("framed table", {"val_loss": 2.6}),
        ("catboost json", {"test/0": 0.71}), ("spacy 2", {}), ("nnunet 2", {"val_loss": -0.2011}),
    ],
)  # fmt: skip
def test_a_validation_is_no_training_row(name: str, metrics: dict[str, float]) -> None:
    assert run_of(logs.ALL[name][0]).rows[0].metrics == metrics


def test_a_validation_that_is_printed_in_blocks_belongs_to_the_row_before() -> None:
    assert run_of(logs.COQUI).rows[-1].metrics == {"val/avg_loss": 2.7}
    assert run_of(logs.FAIRSEQ_JSON).rows[-1].metrics["valid_loss"] == 9.1
    assert run_of(logs.TUTORIAL).rows[1].metrics == {"val/accuracy": 44.7, "val/avg loss": 2.15}


def test_norms_rates_and_times_are_read_beside_the_loss() -> None:
    espnet = run_of(logs.ESPNET).rows[0]
    assert (espnet.grad_norm, espnet.learning_rates, espnet.batch_s, espnet.data_wait_s) == (12.0, (1e-5,), 1.5, 0.1)
    assert (espnet.loss_scale, espnet.parts) == (1.0, (300.1, 100.1))
    assert run_of(logs.OLMO).rows[1].grad_norm == 21.5
    assert run_of(logs.COQUI).rows[0].grad_norm == 1.2
    assert run_of(logs.CYCLEGAN).rows[0].data_wait_s == 0.2
    assert run_of(logs.NNUNET_2).rows[1].learning_rates == (0.00999,)


@pytest.mark.parametrize("name", ["deepspeed", "fairseq json"])
def test_a_step_that_the_loss_scaler_skipped_is_a_row_without_a_loss(name: str) -> None:
    skipped = run_of(logs.ALL[name][0]).rows[1]
    assert (skipped.overflow, skipped.loss, skipped.nonfinite) == (True, None, int(Nonfinite.GRADIENT))
    assert skipped.loss_scale in (32768.0, 64.0)


def test_a_log_of_nothing_but_skipped_steps_is_read() -> None:
    lines = [
        f"step {i}: OVERFLOW! Skipping step. Attempted loss scale: {2 ** (16 - i)}, reducing to {2 ** (15 - i)}"
        for i in range(9)
    ]
    rows = run_of("\n".join([*lines, ""])).rows
    assert [(row.step, row.overflow, row.loss_scale) for row in rows][:2] == [(0, True, 32768.0), (1, True, 16384.0)]
    assert len(rows) == 9


def test_the_loss_of_stylegan_is_the_mean_and_no_count_sign_or_score() -> None:
    assert run_of(logs.STYLEGAN).part_names == ("Loss/G/loss", "Loss/D/loss")


def test_the_files_of_a_run_of_mlflow_are_rows_by_step() -> None:
    files = {
        "train_loss": b"1600000000000 2.5 0\n1600000001000 2.25 1\n1600000002000 nan 2\n",
        "val/loss": b"1600000001500 2.75 1\n",
        "broken": b"no numbers\n1 2\n",
    }
    run = read_log(joined(files), "metrics")
    assert [(row.step, row.nonfinite) for row in run.rows] == [(0, 0), (1, 0), (2, 1)]
    assert run.rows[1].metrics == {"val/loss": 2.75}


def test_several_runs_in_one_table_are_told_and_each_can_be_chosen() -> None:
    text = '"Step","a - train/loss","a - train/loss__MIN","b - train/loss"\n"0","2.5","2.5","9.5"\n"1","2.4","2.4",""\n'
    with pytest.raises(SeveralRuns, match=r"holds 2 runs \(a, b\); name one with --map loss='a - train/loss'") as told:
        run_of(text)
    assert told.value.losses == {"a": "a - train/loss", "b": "b - train/loss"}
    run = read_log(text.encode(), "x", {"b - train/loss": Role.LOSS})
    assert [row.loss for row in run.rows] == [9.5]
    assert run.part_names == ()


def test_a_heading_holds_for_the_lines_below_it() -> None:
    text = "".join(f"Epoch {e}/3\n" + "".join(f"iter {i} loss {2.5 - e / 10}\n" for i in range(3)) for e in (1, 2, 3))
    rows = run_of(text).rows
    assert [(row.epoch, row.step) for row in rows] == [(e, i) for e in (1, 2, 3) for i in range(3)]
    assert rows[-1].generation == 1


def test_the_whole_loss_of_chainer_is_the_one_called_main() -> None:
    run = run_of(json.dumps([{"epoch": 1, "iteration": i, "main/loss": 9.5, "main/loss_ctc": 8.5} for i in (1, 2)]))
    assert [row.loss for row in run.rows] == [9.5, 9.5]


def test_numbers_below_metrics_are_those_of_the_training() -> None:
    line = '{{"step": {}, "metrics": {{"loss": 2.5, "lr": 0.1, "mAP50": 0.3}}}}\n'
    run = run_of("".join(map(line.format, range(3))))
    assert [(row.loss, row.learning_rates) for row in run.rows] == [(2.5, (0.1,))] * 3
    assert run.rows[0].metrics == {"metrics/mAP50": 0.3}


def test_a_series_that_ends_in_nulls_is_not_finite_there() -> None:
    run = run_of('{"loss": [2.5, 2.4, null, null], "val_loss": [null, 2.3, null, 2.1], "acc": [0.1, 0.2, 0.3, 0.4]}')
    assert [(row.loss if not row.nonfinite else None) for row in run.rows] == [2.5, 2.4, None, None]


def test_numbers_that_json_writes_as_texts_are_numbers() -> None:
    run = run_of(json.dumps({"step": "1", "loss": "2.5"}) + "\n" + json.dumps({"step": "2", "loss": "nan"}) + "\n")
    assert [(row.step, row.nonfinite) for row in run.rows] == [(1, 0), (2, 1)]
