"""The screen of `trainwarden top`: asks the daemon every second, in a thread, and draws a row for each run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import quote

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.coordinate import Coordinate
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from monitor.cli.names import operator
from monitor.cli.top_rows import (
    COLUMNS,
    NAME_CHARS,
    NARROW,
    NARROW_NAME_CHARS,
    Losses,
    row_of,
    row_of_training,
    shown_trainings,
    wrong,
)
from monitor.client.http import Client, ClientError, DeclinedError, run_path
from monitor.core.model import CommandGiven, CommandKind
from monitor.daemon.api.alert_routes import Acknowledgement
from monitor.daemon.api.glance import RunGlance
from monitor.daemon.api.run_orders import refusal
from monitor.daemon.api.snapshots import RunDetail

LOOK_S = 1.0
NOT_FOUND = 404


class Shown(ModalScreen[bool]):
    """A text over the table. With `asks` y and n answer it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,n", "answer(False)", "back"),
        Binding("y", "answer(True)", "yes"),
    ]
    DEFAULT_CSS = (
        "Shown { align: center middle; } Shown VerticalScroll { width: 90%; height: 90%; border: round $accent; }"
    )

    def __init__(self, text: str, *, asks: bool = False) -> None:
        super().__init__()
        self._text, self._asks = text, asks

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(Text(self._text))
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Static).update(Text(self._text))  # an answer may have come after `compose`

    def show(self, text: str) -> None:
        """Another text in place of the one before, unless the screen was left meanwhile."""
        self._text = text
        if self.is_mounted and self.is_attached:
            self.query_one(Static).update(Text(text))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Only a question has a yes."""
        return self._asks or (action, parameters) != ("answer", (True,))

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes and self._asks)


class Top(App[None]):
    """Every run, the live ones first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,enter", "report", "report"),
        Binding("a", "acknowledge", "acknowledge"),
        Binding("s", "stop", "stop"),
        Binding("q", "quit", "quit"),
    ]
    ENABLE_COMMAND_PALETTE = False
    CSS = "DataTable { height: 1fr; } #note { height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[RunGlance] = []
        self._losses: dict[str, Losses] = defaultdict(Losses)
        self._run_of: dict[str, str] = {}  # by the key of a row, in the order of the rows
        self._note = ""
        self._asking = False

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Static(id="note")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.set_interval(LOOK_S, self._look)
        self._look()

    def on_data_table_row_selected(self) -> None:
        self.action_report()

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if not self._asking:  # a daemon that is slow to answer is asked once at a time
            self._asking = True
            self.run_worker(self._ask, thread=True, exit_on_error=False)

    def _ask(self) -> None:
        try:
            with Client() as client:
                found = client.get("/api/v1/overview", list[RunGlance])
            note = "" if found else "No run is known. Start one with: trainwarden run -- python train.py"
        except ClientError as error:
            found, note = None, str(error)
        finally:
            self._asking = False
        self.call_from_thread(self._show, found, note)

    def _show(self, found: list[RunGlance] | None, note: str) -> None:
        self._note = note
        if found is not None:  # else what was seen last stays
            self._runs = sorted(found, key=lambda run: (not run.summary.live, -run.summary.opened_s))
            for run in self._runs:
                self._losses[run.summary.run].look(run)
            self._draw()
        self._show_note()

    def _show_note(self) -> None:
        """Of the daemon, else what is wrong with the chosen run: a narrow table has no room for that."""
        run = self._chosen()
        text = self._note or (f"{run.summary.run}: {wrong(run)}" if run and wrong(run) else "")
        self.query_one("#note", Static).update(Text(text))

    def _draw(self) -> None:
        """Change the cells that differ. Where rows came or went, fill the table anew, and stay where it was."""
        table, rows, run_of = self.query_one(DataTable), {}, {}
        chars, now_s = NAME_CHARS if self.size.width >= NARROW else NARROW_NAME_CHARS, time.time()
        for run in self._runs:
            name = run.summary.run
            rows[name], run_of[name] = row_of(run, self._losses[name].newest, now_s, chars), name
            for training in shown_trainings(run):
                key = f"{name}/{training.number}"  # no name of a run has a slash
                rows[key], run_of[key] = row_of_training(training), name
        if list(run_of) == list(self._run_of):
            for number, row in enumerate(rows.values()):
                for column, cell in enumerate(row):
                    at = Coordinate(number, column)
                    shown = table.get_cell_at(at)
                    if (shown.plain, shown.style) != (cell.plain, cell.style):  # a text equals one of another colour
                        table.update_cell_at(at, cell, update_width=True)
            return
        chosen, across, down = self._chosen_key(), table.scroll_x, table.scroll_y
        table.clear()
        self._run_of = run_of
        for key, row in rows.items():
            table.add_row(*row, key=key)
        if chosen in run_of:
            table.move_cursor(row=list(run_of).index(chosen), scroll=False)
        table.call_after_refresh(table.scroll_to, across, down, animate=False)

    def on_data_table_row_highlighted(self) -> None:
        self._show_note()

    def _chosen_key(self) -> str:
        table = self.query_one(DataTable)
        if not table.row_count:
            return ""
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    def _chosen(self) -> RunGlance | None:
        name = self._run_of.get(self._chosen_key(), "")
        return next((run for run in self._runs if run.summary.run == name), None)

    # --- keys -------------------------------------------------------------------------------------------------------

    def action_report(self) -> None:
        """Its newest incident's report; without an incident the lines that `status` begins with."""
        if run := self._chosen():
            name, screen = run.summary.run, Shown("Asking the daemon ...")
            self.push_screen(screen)
            self._ask_for(lambda client: report_of(client, name), screen.show)

    def action_acknowledge(self) -> None:
        """The chosen run's open incident was seen: no reminders."""
        run = self._chosen()
        if run is None or run.summary.incident is None:
            self.notify("This run has no open incident.")
            return
        path = f"/api/v1/incidents/{quote(run.summary.incident.id, safe='')}/acknowledge"
        self._ask_for(lambda client: client.post(path, Acknowledgement(operator())), self._notifier("Acknowledged."))

    def action_stop(self) -> None:
        """Asks first."""
        run = self._chosen()
        if run is None:
            return
        name = run.summary.run
        if why := refusal(run.summary, CommandKind.STOP, checkpoints=0):
            self.notify(why, markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                order = CommandGiven(name, CommandKind.STOP, operator())
                done = self._notifier("Ordered to stop after its current batch.")
                self._ask_for(lambda client: client.post(run_path(name, "inputs"), order), done)

        self.push_screen(Shown(f"Stop {name} after its current batch?\n\ny: yes   n: no", asks=True), answered)

    def _notifier(self, done: str) -> Callable[[str], None]:
        return lambda answer: self.notify(answer or done, markup=False)

    def _ask_for(self, what: Callable[[Client], str | None], then: Callable[[str], None]) -> None:
        """In a thread, so that a daemon that does not answer holds no key up; `then` gets its answer, or why not."""

        def ask() -> None:
            try:
                with Client() as client:
                    answer = what(client) or ""
            except ClientError as error:
                answer = str(error)
            self.call_from_thread(then, answer)

        self.run_worker(ask, thread=True, exit_on_error=False)


def report_of(client: Client, run: str) -> str:
    """The report of the run's newest incident, else the summary of the run."""
    try:
        return client.text(run_path(run, "report"))
    except DeclinedError as error:
        if error.status != NOT_FOUND:
            raise
    lines = client.get(run_path(run), RunDetail).in_short
    return "\n".join([f"{run}: no incident", "", *(f"{label}: {text}" for label, text in lines)])
