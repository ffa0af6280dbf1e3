"""A writer process rewrites a checkpoint in place again and again, while copies of it are asked for at any moment."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from tests.harness.receiver import wait_for
from tests.harness.records import identity
from trainer_hooks.spool import Save, Spool, request_of
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.messages import CheckpointSaved, Event
from trainer_hooks.wire.run_documents import Manifest

COPIES = 25
WRITER = """
import itertools, random, sys, time
from trainer_hooks.copying import SETTLE_S

random.seed(5)
for number in itertools.count(1):
    with open(sys.argv[1], "wb" if number == 1 else "r+b") as file:
        for _ in range(16):
            file.write(number.to_bytes(4, "big") * 262_144)
            file.flush()
    # Begins to write again about when a copy that waited for the file to settle is under way.
    time.sleep(SETTLE_S + random.uniform(-0.01, 0.04))
"""


class Listener:
    """Looks into each copy when it is reported, before the spool may evict it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = 0
        self.torn = 0
        self.wrong: list[str] = []

    def __call__(self, event: Event) -> None:
        assert isinstance(event, CheckpointSaved), event
        if event.torn:
            self.torn += 1
            return
        manifest = read(self.folder / event.manifest, Manifest)
        data = (self.folder / manifest.file).read_bytes()
        if data != data[:4] * (16 * 262_144):
            self.wrong.append(f"{manifest.file} is a mix of versions")
        if hashlib.sha256(data).hexdigest() != manifest.digest:
            self.wrong.append(f"{manifest.file} has another digest")
        self.whole += 1


def test_no_copy_of_a_file_that_is_rewritten_in_place_is_ever_a_mix(tmp_path: Path) -> None:
    us = identity(tmp_path)
    listener = Listener(us.folder.spool)
    spool = Spool(us, listener)
    source = tmp_path / "last.pt"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(source)])
    try:
        wait_for(source.exists, "the first version")
        deadline_s = time.monotonic() + 90
        while listener.whole < COPIES and time.monotonic() < deadline_s:
            spool.offer(request_of(source, Save(epoch=1, ordinal=1, batches=1, nonfinite_batches=0, is_best=False)))
            time.sleep(0.01)  # the pace of the requests, not a wait for anything
        assert spool.finish(30.0)
    finally:
        writer.kill()
        writer.wait()
    assert listener.wrong == []
    assert listener.whole >= COPIES, f"only {listener.whole} whole copies: too few to say anything"
    assert spool.displaced + listener.torn > 0, "the fault did not fire: no request met another version"
