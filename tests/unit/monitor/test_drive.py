"""The one driver that numbers what a core is fed."""

from __future__ import annotations

from monitor.core.drive import Driver
from monitor.core.engine import Core
from monitor.core.model import Tick
from monitor.core.state.run import Fleet


def test_inputs_are_numbered_from_the_last_one_that_the_core_took() -> None:
    driver = Driver(Core(Fleet(seq=41)))
    assert [driver.feed(Tick(), 1.0)[0].seq for _ in range(2)] == [42, 43]
    assert driver.core.fleet.seq == 43


def test_no_number_of_the_journal_is_given_twice_where_its_last_entries_could_not_be_read() -> None:
    driver = Driver(Core(Fleet(seq=41)), above=50)
    assert driver.feed(Tick(), 1.0)[0].seq == 51


def test_the_core_takes_every_input_that_the_driver_numbers() -> None:
    driver = Driver(Core(Fleet(seq=41)), above=50)
    driver.feed(Tick(), 7.0)
    assert (driver.core.fleet.seq, driver.core.fleet.now_s) == (51, 7.0)
