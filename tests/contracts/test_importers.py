"""What every registered importer promises: it knows its own logs, and no bytes raise anything but the named error."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from monitor.recorded.importers import Importer, load_all, read_log, recognise
from monitor.recorded.importers.content import HEAD_BYTES, Content
from monitor.recorded.importers.imported_run import EndsEarly, ImportedRun, Row, UnreadableLog
from tests.unit.monitor.importers import texts

SAMPLES: dict[str, list[bytes]] = {"tensorboard": [texts.TENSORBOARD]}
for _text, _kind, _ in texts.ALL.values():
    SAMPLES.setdefault(_kind, []).append(_text.encode())
NUMBER = re.compile(r"\d+\.\d+")
SEED = 7
GARBLED_TRIES = 60  # of each sample; the property tests beside the importers try many more


@pytest.fixture(params=sorted(load_all()))
def importer(request: pytest.FixtureRequest) -> Importer:
    """Each in turn."""
    return load_all()[request.param]


def samples_of(importer: Importer) -> list[bytes]:
    """Small logs of its kind; the test fails where there are none."""
    if importer.kind not in SAMPLES:
        pytest.fail(
            f"importer {importer.kind!r} has no sample: add a small log of its kind, with the kind and the number of "
            f"its rows, to ALL in tests/unit/monitor/importers/texts.py",
            pytrace=False,
        )
    return SAMPLES[importer.kind]


def read(data: bytes) -> ImportedRun | None:
    """The run, or None where the bytes are refused by the named error; anything else fails the test."""
    try:
        return read_log(data, "x.log")
    except UnreadableLog as error:
        refused = str(error)
    assert refused.startswith("x.log: "), "the sentence begins with the file"
    return None


def numbered(run: ImportedRun) -> None:
    """What holds of the rows whatever the file held."""
    assert run.rows
    assert [row.index for row in run.rows] == list(range(len(run.rows)))
    assert all(row.epoch >= 1 and row.batch >= 0 and row.generation >= 1 for row in run.rows)


def counts_up(run: ImportedRun) -> None:
    """Lines, generations, epochs and batches go up, one after the other."""
    numbered(run)
    for before, after in itertools.pairwise(run.rows):
        assert after.line > before.line
        if after.generation == before.generation:
            assert after.epoch >= before.epoch
            assert after.batch == (before.batch + 1 if after.epoch == before.epoch else 0)
        else:
            assert after.generation == before.generation + 1
            assert after.batch == 0


def test_it_is_asked_first_about_its_own_logs_and_nobody_before_it_takes_them(importer: Importer) -> None:
    for data in samples_of(importer):
        assert recognise(data[:HEAD_BYTES], "x") is importer
        before = [other for other in load_all().values() if other.rank <= importer.rank and other is not importer]
        assert [other.kind for other in before if other.recognises(data[:HEAD_BYTES], "x")] == []


def test_it_takes_no_log_of_a_kind_that_is_as_particular_or_more(importer: Importer) -> None:
    """Among equals the order of the alphabet would decide."""
    taken = [
        kind
        for kind, of_kind in SAMPLES.items()
        for data in of_kind
        if kind != importer.kind and load_all()[kind].rank <= importer.rank and recognise(data, "x") is importer
    ]
    assert taken == []


def test_its_rows_count_up_and_its_kind_and_name_are_told(importer: Importer) -> None:
    for data in samples_of(importer):
        run = read(data)
        assert run is not None
        assert (run.kind, run.path, run.truncated) == (importer.kind, "x.log", "")
        counts_up(run)


def test_the_name_of_the_file_changes_nothing(importer: Importer) -> None:
    for data in samples_of(importer):
        assert repr(read_log(data, "train.csv").rows) == repr(read_log(data, "../x\n.json").rows)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t\r\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"{}", b"[]", b"1"])
def test_nothing_in_a_file_is_the_named_error(importer: Importer, data: bytes) -> None:
    read(data)
    straight(importer, data)


def straight(importer: Importer, data: bytes) -> None:
    """Recognition never raises; and where this importer takes the bytes for its own, it reads them."""
    try:
        if importer.recognises(data[:HEAD_BYTES], "x.log"):
            list(importer.reads(Content.of(data), "x.log").samples)
    except (UnreadableLog, EndsEarly):
        return


def test_a_log_cut_anywhere_is_read_or_refused(importer: Importer) -> None:
    for data in samples_of(importer):
        for end in range(0, len(data), max(1, len(data) // 100)):
            run = read(data[:end])
            if run is not None:
                counts_up(run)
            straight(importer, data[:end])


def test_garbled_bytes_are_read_or_refused(importer: Importer) -> None:
    draw = random.Random(SEED)
    print(f"seed {SEED}")
    for data in samples_of(importer):
        for _ in range(GARBLED_TRIES):
            garbled = bytearray(data)
            for _ in range(draw.randint(1, 8)):
                at = draw.randrange(len(garbled) + 1)
                garbled[at : at + draw.choice([0, 1, 1, 40])] = draw.randbytes(draw.choice([0, 1, 1, 40]))
            run = read(bytes(garbled))
            if run is not None:
                numbered(run)
            straight(importer, bytes(garbled))


@pytest.mark.parametrize("piece", [b"9", b"nan,", b'{"loss": ', b"[", b"loss: 1 ", b"\x00", b"| ", b'"'])
def test_one_line_without_an_end_is_read_or_refused(importer: Importer, piece: bytes) -> None:
    """A progress bar without line ends, or a file that is no log at all: half a megabyte in one line."""
    line = piece * (512 * 1024 // len(piece))
    straight(importer, line)
    for data in samples_of(importer):
        run = read(data + line)
        if run is not None:
            numbered(run)


def test_a_loss_that_is_written_as_not_a_number_is_one(importer: Importer) -> None:
    """Where the loss of any of its logs is `nan`, as its framework spells it, the row is a bad one."""
    rows = [row for data in samples_of(importer) for row in read_log(data, "x.log").rows]
    if not any(row.nonfinite for row in rows):
        rows = [row for data in samples_of(importer) for row in rows_with_nan(data)]
    assert any(row.nonfinite for row in rows), (
        f"{importer.kind}: no number of a sample, replaced by nan or NaN, makes a bad row"
    )


def rows_with_nan(data: bytes) -> list[Row]:
    """The rows of this log with each of its numbers in turn replaced by a NaN in the spellings of Python and JSON."""
    text = data.decode()
    rows: list[Row] = []
    for found in NUMBER.finditer(text):
        for word in ("nan", "NaN"):
            run = read((text[: found.start()] + word + text[found.end() :]).encode())
            rows.extend(run.rows if run else [])
    return rows
