"""What the daemon does at its edges for a run with several trainings: events it missed, hardware, checkpoint copies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.core.model import GenerationExited
from monitor.daemon.catch_up import missed_records
from monitor.daemon.hardware.poll import Hardware
from monitor.daemon.ingest.session import last_taken
from monitor.vault.copies import Vault
from tests.harness.script import RUN, Script
from tests.unit.monitor.vault.conftest import sha256
from trainer_hooks.wire import document_io
from trainer_hooks.wire.eventfile import EventFile, events_path
from trainer_hooks.wire.messages import EventSent, PhaseChanged
from trainer_hooks.wire.run_documents import Exit, Manifest
from trainer_hooks.wire.runfolder import RunFolder


def spooled(folder: RunFolder, training: int, events: int, generation: int = 1, rank: int = 0) -> None:
    """The events that one rank of a training has sent so far, as its hook keeps them."""
    file = EventFile(events_path(folder, generation, rank, training))
    for seq in range(1, events + 1):
        assert file.append(EventSent(seq, PhaseChanged(float(seq), 1, f"phase {seq}")))
    file.close()


def test_of_each_training_exactly_what_did_not_arrive_is_read_from_its_file(tmp_path: Path) -> None:
    """A daemon that comes back in the middle of training 2."""
    folder, script = RunFolder(tmp_path), Script()
    folder.create()
    script.start(1)
    script.end(1)
    script.start(2)
    for training, events in ((1, 2), (2, 4), (3, 2)):
        spooled(folder, training, events)
    spooled(folder, 2, 9, generation=7)
    missed = [(one.training, one.record.seq) for one in missed_records(script.run, folder)]  # type: ignore[union-attr]
    assert missed == [(2, 2), (2, 3), (2, 4), (3, 1), (3, 2)]


def test_after_the_exit_of_the_process_no_event_is_taken_twice(tmp_path: Path) -> None:
    """The file is there until its process has heard that all arrived; a process that was killed never does."""
    folder, script = RunFolder(tmp_path), Script()
    folder.create()
    script.start(2)
    script.batches(2, 10)
    exit_ = Exit(number=1, code=None, signal=9, ended_s=script.driver.now_s)
    script.take(script.driver.feed(GenerationExited(RUN, exit_, relaunch=False)))
    spooled(folder, 2, 3)
    assert last_taken(script.run, 2, 0) == 1
    missed = list(missed_records(script.run, folder))
    assert [one.record.seq for one in missed] == [2, 3]  # type: ignore[union-attr]
    for given in [*missed, *missed]:
        script.take(script.driver.feed(given))
    assert last_taken(script.run, 2, 0) == 3
    assert (script[2].phase, len(script[2].starts)) == ("phase 3", 1)


@pytest.mark.parametrize(("first", "uses"), [("NVIDIA H100", True), ("cpu", False)])
def test_a_run_uses_a_gpu_where_any_of_its_trainings_that_go_on_does(first: str, uses: bool) -> None:
    script = Script()
    for number, device in ((1, first), (2, "cpu")):
        script.start(number)
        script.batches(number, 3)
        started = script[number].started
        assert started is not None
        script[number].started = msgspec.structs.replace(started, device=device)
    hardware = Hardware(lambda: script.driver.core.fleet, lambda *_: None, lambda _: None)
    assert (hardware.readings()[RUN].driver_up is not None) is uses
    script.end(1)
    assert hardware.readings()[RUN].driver_up is None, "the training that used it is over"


def test_the_same_bytes_saved_by_two_trainings_stay_two_copies(tmp_path: Path) -> None:
    """Two folds with one seed: the same epoch, the same serial number, the same digest."""
    folder = RunFolder(tmp_path)
    folder.create()
    for number in (1, 2):
        name = f"g1-t{number}-r0-00001.pt"
        (folder.spool / name).write_bytes(b"the same")
        manifest = Manifest(
            run="r", generation=1, rank=0, ordinal=1, serial=1, file=name, source="/out/last.pt",
            digest=sha256(folder.spool / name), size=8, epoch=1, batches=4, nonfinite_batches=0, is_best=False,
            saved_s=1.0, training=number,
        )  # fmt: skip
        document_io.write(folder.spool / f"{name}.json", manifest)
    vault = Vault(folder)
    paths = {vault.adopt(name)[1] for name in vault.waiting()}
    assert len(paths) == 2
    assert all(path.read_bytes() == b"the same" for path in paths)
