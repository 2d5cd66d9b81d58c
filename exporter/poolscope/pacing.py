"""
Letting others run: a scrape is made by a thread beside those that the service lives by.

Python has a thread that computes go on for `sys.getswitchinterval()`, 5 ms, whoever waits for it;
an event loop that gets to run twice for one of its turns would be late by 10.
"""

from __future__ import annotations

from time import perf_counter, sleep
from typing import Final

PAUSE_EVERY: Final = 0.001
"""Seconds between pauses, and what a sample or the reading of a pool takes."""

PAUSE_SECONDS: Final = 0.00015
"""Seconds: as long as it takes another thread to wake up, or this one would be before it again."""


class Pacer:
    """Of one thread that has something to do for long; to be asked while it holds no lock."""

    def __init__(self) -> None:
        self._since = perf_counter()

    def yield_gil(self) -> None:
        """Make a pause, if the last one was some time ago."""
        if perf_counter() - self._since >= PAUSE_EVERY:
            sleep(PAUSE_SECONDS)
            self._since = perf_counter()
