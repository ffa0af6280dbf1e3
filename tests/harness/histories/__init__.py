"""Runs that differ in what happened to them: each is played in a moment, and what is said of it can be read."""

from tests.harness.histories import bad_batches, ends, going_back, hangs, healthy, others, people, scripts
from tests.harness.histories.pieces import HISTORIES

__all__ = ["HISTORIES", "bad_batches", "ends", "going_back", "hangs", "healthy", "others", "people", "scripts"]
