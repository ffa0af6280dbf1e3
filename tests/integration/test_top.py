"""`trainwarden top` on a real daemon, driven by Textual's own pilot."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("textual")

from textual.widgets import DataTable, Static

from monitor.cli.top_rows import (
    BARS,
    COLUMNS,
    GOOD,
    MARK,
    NARROW_NAME_CHARS,
    OVER,
    POINTS,
    TRAININGS_MAX,
    Losses,
    row_of,
    row_of_training,
    shown_trainings,
    sparkline,
)
from monitor.cli.top_screen import Top
from monitor.client.http import Client, run_path
from monitor.core.model.channel import RunAnnounced
from monitor.daemon.api.glance import RunGlance
from tests.harness.night_run import ROOT, environment_of_home, fresh_home, says_one_sentence, trainwarden
from tests.harness.page_runs import healthy_batches, lay_down_night, live_training
from tests.harness.real_daemon import DaemonProcess
from tests.harness.supervisor import Terminal
from tests.harness.trainer import FakeTrainer, announce

HOSTILE = "[/bad] [bold]x[/bold] \x1b[31m"


def orders() -> list[dict[str, object]]:
    """What the live training was ordered."""
    with Client() as client:
        return client.get(run_path("live", "orders"), list[dict[str, object]])


class Running:
    """A daemon with a night that is over and a training that goes on."""

    def __init__(self, daemon: DaemonProcess, trainer: FakeTrainer) -> None:
        self.daemon, self.trainer = daemon, trainer


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with fresh_home() as home:
        lay_down_night(home)
        with DaemonProcess(home) as daemon, live_training(daemon, HOSTILE) as trainer:
            healthy_batches(trainer, 40)
            yield Running(daemon, trainer)


@pytest.fixture(autouse=True)
def home_of_the_daemon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "running" in request.fixturenames:
        monkeypatch.setenv("TRAINWARDEN_HOME", str(request.getfixturevalue("running").daemon.home))


def screen(what: Callable[..., object], size: tuple[int, int] = (160, 40)) -> None:
    """Run the program, and do this with its pilot."""

    async def run() -> None:
        app = Top()
        async with app.run_test(size=size) as pilot:
            await what(app, pilot)  # type: ignore[misc]

    asyncio.run(run())


async def rows(app: Top, pilot: object, count: int) -> list[list[str]]:
    """The table once it has so many rows."""
    table = app.query_one(DataTable)
    for _ in range(100):
        if table.row_count == count:
            return [[str(cell) for cell in table.get_row_at(n)] for n in range(count)]
        await pilot.pause(0.1)  # type: ignore[attr-defined]
    raise AssertionError(f"{table.row_count} rows, {count} were expected")


async def shown_text(app: Top, pilot: object, what: str) -> str:
    """The text over the table, once it holds `what`."""
    for _ in range(100):
        text = str(app.screen.query_one(Static).render())
        if what in text:
            return text
        await pilot.pause(0.1)  # type: ignore[attr-defined]
    raise AssertionError(f"{what!r} is not in {text!r}")


def test_each_run_is_a_row_the_live_one_first_and_no_name_is_markup(running: Running) -> None:
    async def look(app: Top, pilot: object) -> None:
        live, night = await rows(app, pilot, 2)
        assert live[0].startswith("[/bad] [bold]x[/bold]")
        assert "\x1b" not in live[0]
        assert live[COLUMNS.index("NaN")] == "0"
        assert float(live[COLUMNS.index("loss")]) > 0
        assert night[1] == "finished"
        assert int(night[COLUMNS.index("NaN")].replace(",", "")) > 0

    screen(look)


def test_a_narrow_terminal_stays_where_it_was_scrolled_to(running: Running) -> None:
    async def look(app: Top, pilot: object) -> None:
        live, _ = await rows(app, pilot, 2)
        assert len(live[0]) <= NARROW_NAME_CHARS
        table = app.query_one(DataTable)
        await pilot.press("down", *["right"] * 6)  # type: ignore[attr-defined]
        await pilot.pause(0.3)  # type: ignore[attr-defined]
        scrolled = table.scroll_x
        assert scrolled > 0
        for _ in range(100):  # the daemon has answered once more, and the table has changed
            if table.get_row_at(0)[3].plain != live[3]:
                break
            healthy_batches(running.trainer, 1)
            await pilot.pause(0.1)  # type: ignore[attr-defined]
        else:
            raise AssertionError("the batches did not arrive")
        await pilot.pause(0.3)  # type: ignore[attr-defined]
        assert (table.scroll_x, table.cursor_row) == (scrolled, 1)

    screen(look, size=(60, 12))


def test_a_terminal_of_80_columns_shows_how_bad_it_is_and_when_it_ends(running: Running) -> None:
    """What people look for first must not lie beyond the right edge."""

    async def look(app: Top, pilot: object) -> None:
        await rows(app, pilot, 2)
        table = app.query_one(DataTable)
        widths = {str(column.label): column.get_render_width(table) for column in table.ordered_columns}
        names = list(COLUMNS)
        shown = names[: names.index("ends") + 1]
        assert "NaN" in shown
        assert sum(widths[name] for name in shown) <= 80

    screen(look, size=(80, 24))


def test_a_colour_changes_where_the_word_stays(running: Running) -> None:
    async def look(app: Top, pilot: object) -> None:
        await rows(app, pilot, 2)
        table = app.query_one(DataTable)
        live = app._runs[0]
        assert table.get_row_at(0)[1].style == GOOD
        ended_badly = msgspec.structs.replace(live.summary, live=False)
        app._show([msgspec.structs.replace(live, summary=ended_badly), app._runs[1]], "")
        assert {table.get_row_at(n)[1].style for n in range(2)} == {OVER}

    screen(look)


def test_what_is_wrong_is_shown_below_and_a_key_acknowledges_it(running: Running) -> None:
    async def press(app: Top, pilot: object) -> None:
        await rows(app, pilot, 2)
        await pilot.press("a")  # type: ignore[attr-defined]
        running.trainer.batches(4, nonfinite=4, epoch=1)
        note = app.query_one("#note", Static)
        for expected in ("live: incident 1", ", seen by "):
            for _ in range(100):
                if expected in str(note.render()):
                    break
                await pilot.pause(0.1)  # type: ignore[attr-defined]
            else:
                raise AssertionError(f"{expected!r} is not in {note.render()}")
            if "seen" not in expected:
                await pilot.press("a")  # type: ignore[attr-defined]
        assert MARK in app.query_one(DataTable).get_row_at(0)[COLUMNS.index("")].plain

    screen(press, size=(60, 12))


def test_of_a_run_without_an_incident_the_summary_is_shown_and_no_key_says_yes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(home))

    async def press(app: Top, pilot: object) -> None:
        await rows(app, pilot, 1)
        await pilot.press("r")  # type: ignore[attr-defined]
        shown = await shown_text(app, pilot, "no incident")
        assert "What happened: " in shown
        assert "GET" not in shown
        assert "y" not in app.screen.active_bindings

    with DaemonProcess(home) as daemon, live_training(daemon, "calm"):
        screen(press)


def test_no_key_waits_for_a_daemon_that_is_frozen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key's request lasts up to 10 s there; the table and the other keys go on meanwhile."""
    monkeypatch.setenv("TRAINWARDEN_HOME", str(home))

    with DaemonProcess(home) as daemon, live_training(daemon, "calm"):

        async def press(app: Top, pilot: object) -> None:
            await rows(app, pilot, 1)
            os.kill(daemon.process.pid, signal.SIGSTOP)
            try:
                began_s = time.monotonic()
                await pilot.press("r", "escape", "s")  # type: ignore[attr-defined]
                assert "Stop live after" in str(app.screen.query_one(Static).render())
                await pilot.press("y")  # type: ignore[attr-defined]
                assert time.monotonic() - began_s < 3.0
            finally:
                os.kill(daemon.process.pid, signal.SIGCONT)

        screen(press)


def test_keys_show_the_report_and_stop_only_after_a_yes(running: Running) -> None:
    given = orders()

    async def press(app: Top, pilot: object) -> None:
        await rows(app, pilot, 2)
        await pilot.press("down", "r")  # type: ignore[attr-defined]
        await shown_text(app, pilot, "Incident")
        await pilot.press("escape", "up", "s", "n")  # type: ignore[attr-defined]
        await pilot.pause(0.3)  # type: ignore[attr-defined]
        assert orders() == given
        await pilot.press("s", "y")  # type: ignore[attr-defined]
        for _ in range(100):
            if len(orders()) > len(given):
                break
            await pilot.pause(0.1)  # type: ignore[attr-defined]

    screen(press)
    assert [order["kind"] for order in orders() if order not in given] == ["stop"]


def test_without_a_daemon_it_says_so_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))

    async def look(app: Top, pilot: object) -> None:
        for _ in range(50):
            if said := str(app.query_one("#note", Static).render()):
                assert "daemon" in said
                return
            await pilot.pause(0.1)  # type: ignore[attr-defined]
        raise AssertionError("nothing was said")

    screen(look)


def test_no_run_then_fifty_and_a_daemon_that_goes_and_comes_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(home))
    daemon = DaemonProcess(home)

    async def said(app: Top, pilot: object, what: str, ever: bool = True) -> None:
        for _ in range(200):
            if (what in str(app.query_one("#note", Static).render())) is ever:
                return
            await pilot.pause(0.1)  # type: ignore[attr-defined]
        raise AssertionError(f"{what!r}: {'not said' if ever else 'said for ever'}")

    async def look(app: Top, pilot: object) -> None:
        await said(app, pilot, "No run is known")
        names = [f"run-{number}" for number in range(50)]
        for name in names:
            announce(home, name)
        await asyncio.gather(*(asyncio.to_thread(daemon.send, RunAnnounced(name)) for name in names))
        await rows(app, pilot, 50)
        table = app.query_one(DataTable)
        await pilot.press("end", "up")  # type: ignore[attr-defined]
        row = table.cursor_row
        daemon.kill()
        await said(app, pilot, "no daemon answers")
        assert table.row_count == 50
        await asyncio.to_thread(daemon.start)
        await said(app, pilot, "no daemon answers", ever=False)
        assert (table.row_count, table.cursor_row) == (50, row)

    with daemon:
        screen(look, size=(60, 20))


def test_a_run_of_several_trainings_has_a_row_for_each(running: Running) -> None:
    with Client() as client:
        run = client.get("/api/v1/overview", list[RunGlance])[0]
    one = run.trainings[0]
    many = tuple(msgspec.structs.replace(one, number=n, nonfinite=n) for n in range(1, TRAININGS_MAX + 2))
    assert shown_trainings(run) == ()
    shown = shown_trainings(msgspec.structs.replace(run, trainings=many))
    assert [each.number for each in shown] == list(range(2, TRAININGS_MAX + 2))
    cells = row_of_training(shown[0])
    assert len(cells) == len(COLUMNS)
    assert cells[0].plain == "  training 2"
    assert cells[COLUMNS.index("NaN")].plain == "2"


def test_the_end_is_set_against_the_deadline_in_words(running: Running) -> None:
    with Client() as client:
        run = next(each for each in client.get("/api/v1/overview", list[RunGlance]) if each.summary.live)

    def ends(eta_s: float | None, deadline_s: float | None) -> str:
        changed = msgspec.structs.replace(run, eta_s=eta_s, deadline_s=deadline_s)
        return row_of(changed, (), 1000.0)[COLUMNS.index("ends")].plain

    assert ends(None, 9000.0) == "-"
    assert ends(4600.0, None) == "in 1 h 0 min"
    assert ends(4600.0, 8200.0) == "in 1 h 0 min, 1 h 0 min to spare"
    assert ends(8200.0, 4600.0) == "in 2 h 0 min, 1 h 0 min too late"


def test_a_batch_that_is_not_finite_between_two_looks_is_marked(running: Running) -> None:
    with Client() as client:
        run = next(each for each in client.get("/api/v1/overview", list[RunGlance]) if each.summary.live)
    losses = Losses()

    def look(batches: int, nonfinite: int, loss: float | None) -> None:
        summary = msgspec.structs.replace(run.summary, batches=batches, nonfinite=nonfinite)
        losses.look(msgspec.structs.replace(run, summary=summary, loss=loss))

    look(10, 3, 1.0)
    look(10, 3, 1.0)  # no new batch: no new bar
    look(20, 4, 2.0)
    look(30, 4, None)
    look(40, 4, 2.0)
    assert sparkline(losses.newest) == f"{BARS[0]}!{BARS[-1]}"


def test_without_textual_one_sentence_says_what_to_install(home: Path) -> None:
    (home / "without" / "textual").mkdir(parents=True)
    (home / "without" / "textual" / "__init__.py").write_text("raise ImportError('not installed')")
    environment = environment_of_home(home, TERM="xterm", PYTHONPATH=f"{home / 'without'}:{ROOT}")
    code = "import _trainwarden, sys; sys.argv[1:] = ['top']; sys.exit(_trainwarden.main())"
    terminal = Terminal([sys.executable, "-c", code], environment, home)
    try:
        assert terminal.wait() == 2
        assert "pip install 'trainwarden[tui]'" in terminal.read()
    finally:
        terminal.close()


def test_without_a_terminal_it_is_refused(home: Path) -> None:
    assert "trainwarden status" in says_one_sentence(trainwarden(home, "top"), 2)


def test_a_sparkline_shows_what_is_not_finite_and_no_more_than_fits() -> None:
    assert sparkline([1.0, math.nan, 2.0, math.inf]) == f"{BARS[0]}!{BARS[-1]}!"
    assert len(sparkline([float(n) for n in range(100)])) == POINTS
    assert sparkline([]) == ""
    assert sparkline([3.0, 3.0]) == BARS[0] * 2


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder
