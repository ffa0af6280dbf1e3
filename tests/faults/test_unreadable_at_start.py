"""One thing that can't be read never keeps the daemon from starting: it is said, set aside and counted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from alerts import alert as alert_codec
from monitor.core.model import GenerationStarted, Tick, WriteReport
from monitor.core.model.channel import RunAnnounced
from monitor.history.recall import FILE_NAME, open_history
from monitor.history.transaction_rows import Commit
from monitor.history.witness import WITNESS_NAME
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer, announce
from tests.unit.monitor.test_history import _row, _ticks
from trainer_hooks.wire import document_io
from trainer_hooks.wire.document_io import DOCUMENT_BYTES_MAX, RunFolderError
from trainer_hooks.wire.run_documents import Exit, RunOutcome, RunOver
from trainer_hooks.wire.runfolder import RunFolder

BAD_VALUES = (
    b"",
    b"\xc1",
    b"\xff" * 50,
    b"\x93" * 3000,
    "a text",
    None,
    7,
    1.5,
    b'{"type":"nothing"}',
    b"\x81\xa4type",
)


def changed(home: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(home / FILE_NAME) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(sql, values)
    db.close()


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_row_of_effects_that_cant_be_read_is_set_aside_once(tmp_path: Path, value: object) -> None:
    store, _ = open_history(tmp_path)
    store.commit(Commit(effects=[WriteReport("e1", "r", "i"), WriteReport("e2", "r", "i")]))
    store.close()
    stored = value if value is not None else "null"  # the column takes no NULL
    changed(tmp_path, "UPDATE effects SET effect = ? WHERE id = 'e1'", stored)
    store, recalled = open_history(tmp_path)
    store.close()
    assert [effect.id for effect in recalled.effects] == ["e2"]
    assert (len(recalled.troubles), recalled.set_aside) == (1, 1)
    assert "effect e1 can't be read" in recalled.troubles[0]
    store, recalled = open_history(tmp_path)
    kept = store.rows("SELECT effect FROM effects WHERE id = 'e1'")
    store.close()
    assert (recalled.troubles, kept) == ([], [(stored,)]), "said once, and its bytes are kept"


@pytest.mark.parametrize(
    "change",
    ["alert = x'ff'", "alert = 'text'", "next_s = 'soon'", "attempts = 'many'", "receiver = x'00ff'", "run = 7.5"],
)
def test_a_row_of_the_outbox_that_cant_be_read_is_set_aside_and_the_next_is_sent(tmp_path: Path, change: str) -> None:
    store, _ = open_history(tmp_path)
    store.commit(Commit(alerts=[_row(1), _row(2)]))
    store.close()
    changed(tmp_path, f"UPDATE outbox SET {change} WHERE id = 1")
    store, recalled = open_history(tmp_path)
    store.close()
    if change != "run = 7.5":  # SQLite makes a text of it: only the run is wrong
        assert [row.id for row in recalled.waiting] == [2]
        assert "row 1 of the outbox" in recalled.troubles[0]
    assert recalled.waiting[-1].alert == alert_codec.decode(alert_codec.encode(_row(2).alert))


def test_a_text_that_is_no_utf_8_makes_no_other_row_unreadable(tmp_path: Path) -> None:
    store, _ = open_history(tmp_path)
    store.commit(Commit(entries=_ticks(1, 3), alerts=[_row(1)]))
    store.close()
    changed(tmp_path, "UPDATE outbox SET alert_id = CAST(x'ff80' AS TEXT)")
    store, recalled = open_history(tmp_path)
    store.close()
    assert (recalled.begun_anew, len(recalled.entries)) == (False, 3)


# --- a history that lost its end -----------------------------------------------------------------------------------


def _cut(home: Path) -> None:
    changed(home, "DELETE FROM journal WHERE seq > 5")


def _older_copy(home: Path) -> None:
    changed(home, "DELETE FROM journal")


def _gone(home: Path) -> None:
    for path in home.glob(f"{FILE_NAME}*"):
        path.unlink()


@pytest.mark.parametrize(("lose", "says"), [(_cut, "entry 5 of 9"), (_older_copy, "missing"), (_gone, "missing")])
def test_a_history_that_lost_its_end_is_noticed_and_goes_on_above_it(
    tmp_path: Path, lose: Callable[[Path], None], says: str
) -> None:
    store, _ = open_history(tmp_path)
    store.commit(Commit(entries=_ticks(1, 9)))
    store.close()
    lose(tmp_path)
    store, recalled = open_history(tmp_path)
    assert recalled.shortened
    assert says in recalled.troubles[-1]
    assert recalled.seq == 9, "no number is used twice"
    store.commit(Commit(entries=_ticks(10, 11)))
    store.close()
    store, recalled = open_history(tmp_path)
    store.close()
    assert not recalled.shortened


@pytest.mark.parametrize("text", [b"", b"x" * 20, b"-5", b"9" * 4, b"\xff" * 20, b"00000000000000000000\n"])
def test_a_witness_that_says_nothing_or_too_little_is_no_trouble(tmp_path: Path, text: bytes) -> None:
    store, _ = open_history(tmp_path)
    store.commit(Commit(entries=_ticks(1, 9999)))
    store.close()
    (tmp_path / WITNESS_NAME).write_bytes(text)
    store, recalled = open_history(tmp_path)
    store.close()
    assert (recalled.shortened, recalled.troubles) == (False, [])


def test_a_witness_that_cant_be_opened_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / WITNESS_NAME).mkdir()
    store, recalled = open_history(tmp_path)
    store.commit(Commit(entries=_ticks(1, 2)))
    store.close()
    assert recalled.troubles == []


# --- run folders ---------------------------------------------------------------------------------------------------


def rubbish(folder: RunFolder) -> None:
    """Names and files that no part of trainwarden writes."""
    root = folder.root
    os.mkfifo(root / "applied-pipe.json")
    (root / "applied-folder.json").mkdir()
    (root / f"generation-{'9' * 200}.json").write_text("{}")
    (root / "generation-999999999.json").write_text("{}")
    (root / "generation-٣.json").write_text("{}")
    (root / "applied-broken.json").write_bytes(b"\xff\xfe")
    (root / "applied-deep.json").write_bytes(b"[" * 100_000)
    (root / "applied-loop.json").symlink_to(root / "applied-loop.json")
    Path(os.fsdecode(os.fsencode(root) + b"/applied-\xff\xfe.json")).write_bytes(b"{")
    (root / "training-9-g٣.json").write_text("{}")
    os.mkfifo(folder.spool / "events-1-1-0.bin")
    (folder.spool / "events-1-1-1.bin").mkdir()
    (folder.spool / "events-1-1-2.bin").write_bytes(b"\xff" * 100)
    for name in ("g1-r0-00001.pt.json", "g1-r0-00002.pt.json"):
        (folder.spool / name).write_bytes(b"\x00")
    (folder.spool / "g1-r0-00003.pt.json").mkdir()


@pytest.mark.parametrize("policy", [b"\xff\xfe", b"[" * 3000, b"version: " + b"1" * 5000, b'a: "\\ud800"', None])
def test_a_run_folder_full_of_rubbish_and_a_policy_that_cant_be_read_keep_no_daemon_from_starting(
    tmp_path: Path, policy: bytes | None
) -> None:
    folder = announce(tmp_path, "night")
    with DaemonProcess(tmp_path) as daemon, FakeTrainer(tmp_path, "night", pid=os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.send(RunAnnounced("night"))
        daemon.send(GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()))
        trainer.start()
        trainer.until_seen()
        daemon.kill()
        rubbish(folder)
        folder.policy.unlink()
        folder.policy.write_bytes(policy) if policy is not None else folder.policy.mkdir()
        changed(tmp_path, "INSERT INTO effects VALUES (99, 'x', 'X', 'night', x'ff', 0)")
        document_io.write(folder.exit(1), Exit(number=1, code=1, signal=None, ended_s=1.0))
        document_io.write(folder.ended, RunOver(how=RunOutcome.FAILED, detail="as it must be", code=1, ended_s=1.0))
        daemon.start()
        until("its end is known", lambda: daemon.json("/api/v1/runs/night")["detail"] == "as it must be")
        names = ("applied-pipe", "applied-folder", "applied-broken", "generation-999999999", "effect x", "policy")

        def said() -> str:
            return " ".join(line["text"] for line in daemon.json("/api/v1/runs/night/timeline"))

        until("each of them is named", lambda: all(name in said() for name in names))
        assert (daemon.metric("trainwarden_unreadable_parts") or 0) >= 8
        assert "Traceback" not in daemon.output()


def test_a_document_is_read_up_to_its_limit_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "exit-1.json"
    text = msgspec.json.encode(Exit(number=1, code=1, signal=None, ended_s=1.0))
    path.write_bytes(text + b" " * (DOCUMENT_BYTES_MAX - len(text)))
    assert document_io.read(path, Exit).code == 1
    path.write_bytes(text + b" " * (DOCUMENT_BYTES_MAX - len(text) + 1))
    with pytest.raises(RunFolderError, match="at most"):
        document_io.read(path, Exit)


def test_a_state_whose_policy_this_version_rejects_is_only_watched(tmp_path: Path) -> None:
    from monitor.core.engine import Core, restored, snapshot
    from monitor.core.model import Entry, RunOpened
    from trainer_hooks.wire.run_documents import RunSpec

    core = Core()
    spec = RunSpec(run="r", argv=(), cwd="", created_s=0.0, act=True)
    for number, policy in enumerate(("{", '{"version": 9}', '{"no": 1}', "null"), start=1):
        core.feed(Entry(number, 1.0, RunOpened(msgspec.structs.replace(spec, run=f"r{number}"), policy)))
    again = restored(snapshot(core))
    assert len(again.check_policies()) == 4
    assert again.check_policies() == []
    again.feed(Entry(9, 2.0, Tick()))
