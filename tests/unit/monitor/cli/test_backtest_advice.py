"""What an error of `trainwarden backtest` advises works: each kind of failure, and then what it says."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shlex
import zipfile
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.contracts.samples import logs as samples
from tests.unit.monitor.importers import texts

ROWS = "".join(f"{i},{2.5 - i / 100}\n" for i in range(40))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error; fails the test where there is none."""
    assert execute(["backtest", *arguments]) == 2
    return capsys.readouterr().err


def advised(error: str) -> list[str]:
    """The options that an error says, as a shell takes them."""
    found = re.search(r"(--map .*)", error)
    assert found is not None, error
    return shlex.split(found[1])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("odd.csv", "it,objfn\n" + ROWS),
        ("odd.csv", "it,the objective's value\n" + ROWS),
        ("bare.csv", ROWS),
        ("one.txt", "".join(f"{2.5 - i / 100}\n" for i in range(40))),
        ("odd.jsonl", "".join(f'{{"it": {i}, "objfn": {2.5 - i / 100}}}\n' for i in range(40))),
        ("odd.json", '{"objfn": [2.5, 2.4, 2.3]}'),
        ("odd.log", "".join(f"step {i} objfn {2.5 - i / 100}\n" for i in range(40))),
        ("board.csv", "Wall time,Step,Value\n" + "".join(f"1600000000.5,{i},{2.5 - i / 100}\n" for i in range(40))),
    ],
)
def test_a_log_without_a_loss_names_the_option_that_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    log = tmp_path / name
    log.write_text(text)
    error = refused([str(log)], capsys)
    assert execute(["backtest", str(log), *advised(error)]) == 0, error


def test_a_column_that_is_not_there_names_the_near_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "odd.csv"
    log.write_text("it,objfn\n" + ROWS)
    error = refused(["--map", "loss=objfm", str(log)], capsys)
    near = re.search(r"did you mean '(\w+)'\?", error)
    assert near is not None
    assert execute(["backtest", "--map", f"loss={near[1]}", str(log)]) == 0


def test_a_table_of_several_runs_is_read_run_by_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "export.csv"
    rows = "".join(f'"{i}","2.5","{"NaN" if i > 20 else 2.5}"\n' for i in range(40))
    log.write_text('"Step","calm - train/loss","bad - train/loss"\n' + rows)
    assert execute(["backtest", str(log)]) == 1
    out = capsys.readouterr().out
    assert "export.csv#calm: quiet (csv, 40 rows)" in out
    assert "export.csv#bad: 3 alarms (csv, 40 rows)" in out


def test_a_folder_with_nothing_readable_names_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.log").write_text("hello\nworld\n")
    (folder / "b.txt").write_text("nothing\n")
    good = tmp_path / "good.csv"
    good.write_text("step,loss\n" + ROWS)
    for arguments in ([str(folder)], [str(folder), str(good)], [str(folder / "*")]):
        error = refused(arguments, capsys)
        assert "a.log: " in error
        assert "b.txt: " in error
    (folder / "c.csv").write_text("step,loss\n" + ROWS)
    assert execute(["backtest", str(folder)]) == 0, "beside a log, what is none is passed by"


def test_a_folder_without_the_name_of_a_log_says_what_to_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train-17").write_text("step,loss\n" + ROWS)
    assert "name the file itself" in refused([str(tmp_path)], capsys)
    assert execute(["backtest", str(tmp_path / "train-17")]) == 0


def test_a_packed_log_is_found_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"step,loss\n" + ROWS.encode()))
    (tmp_path / "image.png.gz").write_bytes(gzip.compress(b"\x89PNG"))
    assert execute(["backtest", str(tmp_path)]) == 0
    assert "log.csv.gz: quiet (csv, 40 rows)" in capsys.readouterr().out


def test_a_damaged_packed_log_says_what_to_do_and_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, whole = tmp_path / "log.csv.gz", gzip.compress(b"step,loss\n" + ROWS.encode())
    log.write_bytes(whole[:15] + bytes(10) + whole[25:])
    assert "unpack or copy it again" in refused([str(log)], capsys)
    log.write_bytes(whole)
    assert execute(["backtest", str(log)]) == 0


def test_the_folder_of_a_run_of_mlflow_is_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "mlruns" / "0" / "abc"
    (run / "metrics" / "train").mkdir(parents=True)
    (run / "meta.yaml").write_text("run_id: abc\n")
    losses = "".join(f"160000000{i:04} {'nan' if i >= 20 else 2.5} {i}\n" for i in range(40))
    (run / "metrics" / "train" / "loss").write_text(losses)
    (run / "metrics" / "lr").write_text("".join(f"160000000{i:04} 0.1 {i}\n" for i in range(40)))
    for named in (tmp_path, run, run / "metrics"):
        assert execute(["backtest", str(named)]) == 1
        assert "metrics: 3 alarms (mlflow, 40 rows)" in capsys.readouterr().out


def test_nothing_to_read_names_what_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Name files or folders" in refused([], capsys)
    missing = refused([str(tmp_path / "no.csv")], capsys)
    assert "can't be read (No such file or directory); check the path" in missing


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "catboost_training.json", "history.json", "events.out.tfevents.1"]
)
def test_a_log_that_is_not_whole_is_read_once_it_is_copied_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    whole = {
        "trainer_state.json": texts.HF_STATE.encode(),
        "catboost_training.json": samples.CATBOOST_JSON.encode(),
        "history.json": b'{"loss": [2.5, 2.4, 2.3], "val_loss": [2.6, 2.5, 2.4]}',
        "events.out.tfevents.1": texts.TENSORBOARD,
    }[name]
    log = tmp_path / name
    damaged = bytearray(whole[:-20] if name.endswith(".json") else whole)
    if not name.endswith(".json"):
        damaged[len(damaged) // 2] ^= 1
    log.write_bytes(damaged)
    assert re.search("copy (it|the file) again", refused([str(log)], capsys))
    log.write_bytes(whole)
    assert execute(["backtest", str(log)]) in (0, 1)


def test_what_is_packed_is_read_once_it_is_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = ("step,loss\n" + ROWS).encode()
    with zipfile.ZipFile(tmp_path / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", table)
    (tmp_path / "log.csv.bz2").write_bytes(bz2.compress(table))
    (tmp_path / "log.csv.xz").write_bytes(lzma.compress(table))
    for packed in ("log.zip", "log.csv.bz2", "log.csv.xz"):
        assert "unpack it" in refused([str(tmp_path / packed)], capsys)
    (tmp_path / "log.csv").write_bytes(table)
    assert execute(["backtest", str(tmp_path / "log.csv")]) == 0


@pytest.mark.parametrize("head", [b"PAR1", b":W&B", b"\x89HDF\r\n", b"PK\x03\x04"])
def test_what_holds_a_table_in_another_form_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], head: bytes
) -> None:
    (tmp_path / "history").write_bytes(head + bytes(range(256)) * 8)
    assert re.search(r"export (it|its history) as CSV", refused([str(tmp_path / "history")], capsys))


def test_an_empty_log_is_read_once_something_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"")
    assert "name it again once the training has written to it" in refused([str(log)], capsys)
    log.write_text("step 1 loss 2.5\nstep 2 loss 2.4\n")
    assert execute(["backtest", str(log)]) == 0


def test_a_log_without_numbers_is_read_once_it_prints_what_the_error_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "train.log"
    log.write_text("hello\nworld\n")
    shown = re.search(r"print `(.*)`", refused([str(log)], capsys))
    assert shown is not None
    log.write_text(f"hello\n{shown[1]}\nworld\n{shown[1]}\n")
    assert execute(["backtest", str(log)]) == 0


def test_a_role_that_is_not_one_and_a_column_of_two_roles_say_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "odd.csv"
    log.write_text("it,objfn\n" + ROWS)
    error = refused(["--map", "los=objfn", str(log)], capsys)
    near = re.search(r"did you mean '?(\w+)", error)
    assert near is not None, error
    assert execute(["backtest", "--map", f"{near[1]}=objfn", str(log)]) == 0
    twice = ["--map", "loss=objfn", "--map", "step=objfn", str(log)]
    assert "give each column one" in refused(twice, capsys)
    assert execute(["backtest", "--map", "loss=objfn", "--map", "step=it", str(log)]) == 0
