"""`trainwarden backtest`: files, folders and globs in; text, JSON, JUnit and an exit code out."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import pytest

from monitor.cli import execute
from monitor.history.recall import FILE_NAME
from monitor.history.store import Store
from monitor.recorded.stream import Recorded, stream_bytes
from trainer_hooks.wire.messages import BatchEnded, Counts

CALM = "epoch,loss,val_loss\n" + "".join(f"{i},{1 - i / 100},1.1\n" for i in range(40))
BAD = "epoch,loss,val_loss\n" + "".join(f"{i},{'nan' if i > 30 else 1 - i / 100},1.1\n" for i in range(40))
ODD = "it,nll\n" + "".join(f"{i},{1 - i / 100}\n" for i in range(40))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with a calm log, a bad one below it, one that is damaged and one that is no log."""
    (tmp_path / "below").mkdir()
    (tmp_path / "calm.csv").write_text(CALM)
    (tmp_path / "below" / "bad.csv").write_text(BAD)
    (tmp_path / "trainer_state.json").write_text('{"log_history": [')
    (tmp_path / "notes.txt").write_text("buy milk\n")
    return tmp_path


def test_a_calm_log_ends_with_0(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", str(logs / "calm.csv")]) == 0
    out = capsys.readouterr().out
    assert "calm.csv: quiet (keras_csv, 40 epochs)" in out
    assert "1 run, 40 rows: 0 with a critical alarm, 0 with any" in out


def test_a_bad_log_says_where_and_what_the_policy_would_have_done(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["backtest", str(logs / "below")]) == 1
    out = capsys.readouterr().out
    assert "critical row 33, step 33, epoch 34 since row 31: nonfinite_burst: 3 non-finite batches" in out
    assert "policy   row 33" in out


def test_one_damaged_file_is_named_and_the_others_still_run(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", "--json", str(logs)]) == 1
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert [Path(run["path"]).name for run in told["runs"]] == ["bad.csv", "calm.csv"]
    assert "trainer_state.json: is not a complete JSON document" in told["errors"][0]
    assert "trainer_state.json" in captured.err
    assert "notes.txt" not in captured.out + captured.err, "what is no log is passed by in a folder"


def test_a_named_file_that_is_no_log_is_an_error(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", str(logs / "notes.txt"), str(logs / "calm.csv")]) == 2
    assert "notes.txt: no column is a training loss" in capsys.readouterr().err


def test_a_missing_file_is_an_error(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", str(logs / "gone.csv")]) == 2
    assert "gone.csv: can't be read (No such file or directory)" in capsys.readouterr().err


def test_a_glob_is_searched_and_one_that_matches_nothing_is_an_error(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["backtest", f"{logs}/**/*.csv"]) == 1
    assert "2 runs, 80 rows" in capsys.readouterr().out
    assert execute(["backtest", f"{logs}/*.tsv"]) == 2
    assert "no file matches" in capsys.readouterr().err


@pytest.mark.parametrize(("fail_on", "code"), [("critical", 0), ("warning", 1), ("never", 0)])
def test_fail_on_names_the_least_severity_that_counts(
    fail_on: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "one.csv"
    log.write_text(CALM.replace("30,0.7,", "30,nan,"))
    assert execute(["backtest", "--fail-on", fail_on, str(log)]) == code
    assert "not finite" in capsys.readouterr().out


def test_a_preset_can_be_named(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", "--policy", "observe", str(logs / "below")]) == 1
    assert "watch: the policy says act: false" in capsys.readouterr().out


def test_junit_has_a_case_for_each_log(logs: Path) -> None:
    report = logs / "report.xml"
    assert execute(["backtest", "--junit", str(report), str(logs)]) == 1
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    failed = suite.find("testcase[failure]")
    assert failed is not None
    assert str(failed.get("name")).endswith("bad.csv")


def test_a_junit_file_that_can_not_be_written_is_an_error(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", "--junit", str(logs / "no" / "r.xml"), str(logs / "calm.csv")]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_columns_can_be_mapped_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "odd.csv"
    log.write_text(ODD)
    assert execute(["backtest", str(log)]) == 2
    assert "name it with --map loss=" in capsys.readouterr().err
    assert execute(["backtest", "--map", "loss=nll", "--map", "step=it", str(log)]) == 0
    assert "odd.csv: quiet (csv, 40 rows)" in capsys.readouterr().out


def test_a_map_of_an_unknown_role_names_the_near_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", "--map", "los=nll", str(tmp_path)]) == 2
    assert "did you mean 'loss'?" in capsys.readouterr().err


def test_with_labels_it_is_the_wrong_verdicts_that_fail(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = logs / "labels.csv"
    labels.write_text("path,label,onset\ncalm.csv,healthy,\nbelow/bad.csv,nan,31\n")
    assert execute(["backtest", "--labels", str(labels), "--fail-on", "warning"]) == 0
    out = capsys.readouterr().out
    assert "| nan | 1 | 40 | 1 of 1 (100.0%) | 1 of 1 (100.0%) | 1 of 1 (100.0%) | 0 rows | 0 rows |" in out
    assert "false alarms on healthy runs: 0, 0.0 per million of their 40 rows" in out
    labels.write_text("path,label\ncalm.csv,nan\nbelow/bad.csv,healthy\n")
    assert execute(["backtest", "--labels", str(labels), "--junit", str(logs / "r.xml")]) == 1
    suite = ElementTree.parse(logs / "r.xml").getroot()
    said = [str(failure.get("message")) for failure in suite.iter("failure")]
    assert said == ["missed: the run is labelled nan", "false alarm: the run is labelled healthy"]
    assert [p.get("value") for p in suite.iter("property") if p.get("name") == "nan.warned"] == ["0"]


def test_labels_come_as_numbers_in_json(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = logs / "labels.csv"
    labels.write_text("file,label,nan_onset_row\nbelow/bad.csv,nan,31\n")
    assert execute(["backtest", "--labels", str(labels), "--json", str(logs / "below")]) == 0
    (share,) = json.loads(capsys.readouterr().out)["score"]["shares"]
    assert (share["label"], share["warned"], share["delay_median_rows"]) == ("nan", 1, 0)


def test_labels_for_none_of_the_files_are_refused(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs / "labels.csv").write_text("path,label\nother.csv,nan\n")
    assert execute(["backtest", "--labels", str(logs / "labels.csv"), str(logs / "calm.csv")]) == 2
    assert "none of the files has a label in it" in capsys.readouterr().err


def test_what_acting_costs_and_spares_is_said(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", str(logs / "below")]) == 1
    out = capsys.readouterr().out
    assert "policy   row 33, step 33, 2 rows after the onset: rollback" in out
    assert (
        "costs 3 rows to train again; the log has 6 more rows, which a stop would have saved if the run was lost" in out
    )


def test_a_recorded_stream_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = BatchEnded(1.0, 1.0, 1, 0, 10, Counts(batches=1, steps=1), loss=2.0)
    (tmp_path / "night.jsonl").write_bytes(stream_bytes([Recorded(1.0, batch)]))
    assert execute(["backtest", str(tmp_path)]) == 0
    assert "night.jsonl: quiet (stream, 1 rows)" in capsys.readouterr().out


def test_several_processes_say_the_same(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest", str(logs)]) == 1
    alone = capsys.readouterr().out
    assert execute(["backtest", "--jobs", "2", str(logs)]) == 1
    assert capsys.readouterr().out == alone


def test_a_run_of_the_history_is_named_and_a_database_of_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    assert execute(["backtest", "--run", "night"]) == 2
    assert "history.sqlite3: can't be read (No such file or directory)" in capsys.readouterr().err
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    database.close()
    assert execute(["backtest", str(tmp_path)]) == 2
    assert "this is not a history that can be read" in capsys.readouterr().err
    (tmp_path / FILE_NAME).unlink()
    Store(tmp_path / FILE_NAME).close()
    assert execute(["backtest", "--run", "night"]) == 2
    assert "holds no batch of run 'night'" in capsys.readouterr().err


def test_nothing_to_read_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backtest"]) == 2
    assert "there is nothing to read. Name files or folders" in capsys.readouterr().err
