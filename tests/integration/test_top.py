"""`trainwarden top` on a real daemon, driven by Textual's own pilot."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("textual")

from textual.widgets import DataTable, Static

from monitor.cli.top_rows import BARS, POINTS, sparkline
from monitor.cli.top_screen import Top
from monitor.client.http import Client, run_path
from tests.harness.night_run import fresh_home, says_one_sentence, trainwarden
from tests.harness.page_runs import healthy_batches, lay_down_night, live_training
from tests.harness.real_daemon import DaemonProcess
from tests.harness.trainer import FakeTrainer

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


def test_each_run_is_a_row_the_live_one_first_and_no_name_is_markup(running: Running) -> None:
    async def look(app: Top, pilot: object) -> None:
        live, night = await rows(app, pilot, 2)
        assert live[0].startswith("[/bad] [bold]x[/bold]")
        assert "\x1b" not in live[0]
        assert live[6] == "0"
        assert float(live[4]) > 0
        assert night[1] == "finished"
        assert int(night[6].replace(",", "")) > 0

    screen(look)


def test_a_narrow_terminal_is_no_reason_to_fail(running: Running) -> None:
    async def look(app: Top, pilot: object) -> None:
        assert len(await rows(app, pilot, 2)) == 2

    screen(look, size=(60, 12))


def test_keys_show_the_report_and_stop_only_after_a_yes(running: Running) -> None:
    async def press(app: Top, pilot: object) -> None:
        await rows(app, pilot, 2)
        await pilot.press("down", "r")  # type: ignore[attr-defined]
        await pilot.pause(0.5)  # type: ignore[attr-defined]
        assert "incident" in str(app.screen.query_one(Static).render()).lower()
        await pilot.press("escape", "up", "s", "n")  # type: ignore[attr-defined]
        await pilot.pause(0.3)  # type: ignore[attr-defined]
        assert orders() == []
        await pilot.press("s", "y")  # type: ignore[attr-defined]
        await pilot.pause(0.5)  # type: ignore[attr-defined]

    screen(press)
    assert [order["kind"] for order in orders()] == ["stop"]


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
